"""The net under all commands: an error that nobody foresaw ends in one sentence, and its trace is kept in a file."""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from maml_bench import __version__
from maml_bench.errors import MamlBenchError
from maml_bench.files import cache_home

SHOW_TRACE = "MAML_BENCH_SHOW_TRACE"
"""Where this variable is set, an unforeseen error is raised as it is. The tests set it, so that none is hidden."""
SURROUNDINGS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOTDIR),
    *(errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EEXIST),
)
"""Errors of files that no program can foresee, because the place itself is at fault."""


def of_surroundings(error: Exception) -> str | None:
    """A sentence about a file that cannot be written or read, or None for any other error."""
    if not isinstance(error, OSError) or error.errno not in SURROUNDINGS or error.filename is None:
        return None
    return f"{os.fsdecode(error.filename)} cannot be written or read: {error.strerror}"


def unforeseen(error: Exception) -> str:
    """Write the trace of ``error`` to a file; return one sentence with what happened, where the file is and how to
    report it."""
    what = f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"[:300]
    place = _written("".join(traceback.format_exception(error)))
    trace = f"the full trace is in {place}" if place else "no file could be written for the full trace"
    shown = " with that file" if place else ""
    return f"maml-bench is at fault ({what}); {trace}; please report this as an issue of the project{shown}"


def _written(trace: str) -> Path | None:
    """Write the trace to the first folder that takes it, with what is needed to understand it."""
    about = f"maml-bench {__version__}, Python {sys.version}, {sys.platform}\ncommand: {sys.argv!r}\n\n"
    content = (about + trace).encode(errors="backslashreplace")
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix="maml-bench-error-", suffix=".txt", dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
        except OSError:
            continue
        return Path(name)
    return None


def _folders() -> Iterator[Path]:
    """The user's cache folder and the system's temporary folder, as far as there are such."""
    with suppress(MamlBenchError, OSError):
        yield cache_home() / "errors"
    with suppress(OSError):
        yield Path(tempfile.gettempdir())
