"""Files that are whole or not there (written to a temporary name, then renamed), the user's cache folder, and locks
between processes."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from maml_bench.errors import MamlBenchError

LONGEST_NAME = 100
"""Bytes of a name that becomes a part of a file name, at most: several of them must fit into 255 bytes together."""
_NAME = re.compile(r"\w[\w.+ -]*")


def refuse_unfit_name(name: str, what: str) -> None:
    """Check a name that becomes a part of a path, such as the id of a recipe; ``what`` says of what it is the name.

    Raises:
        MamlBenchError: the name has other characters than letters, digits, spaces, ``_``, ``.``, ``+`` and ``-``, does
            not begin with a letter, a digit or ``_``, or is longer than `LONGEST_NAME` bytes.
    """
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        raise MamlBenchError(f"{what} {name[:20]!r}... is too long: a name has at most {LONGEST_NAME} bytes")
    if not _NAME.fullmatch(name):
        raise MamlBenchError(
            f"{what} {name!r} cannot be a part of a file name: use letters, digits, spaces, '_', '.', '+' and '-', "
            "and begin with a letter or a digit"
        )


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in ``target``'s folder; rename it to ``target`` on success, remove it on any exception."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("r+b") as written:  # Windows flushes only what may be written
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write(target: Path, content: str | bytes) -> None:
    """Write ``content`` to ``target`` whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def cache_home() -> Path:
    """The folder of maml-bench in the user's cache folder, which need not exist.

    Raises:
        MamlBenchError: the user has no home folder, and no variable names a cache folder.
    """
    path = user_cache_path("maml-bench")
    if not path.is_absolute():
        raise MamlBenchError("this user has no home folder: set XDG_CACHE_HOME to a folder that you may write to")
    return path


@contextmanager
def locked(path: Path, busy: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock that belongs to ``path``; it lies in the system's temporary folder, folders hold data only.

    Raises:
        MamlBenchError: another process of this machine holds it after ``wait_s`` (``busy`` says so), or there is no
            writing to that folder.
    """
    name = sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir(), f"maml-bench-{name}.lock"))
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise MamlBenchError(busy) from None
    except OSError as error:
        raise MamlBenchError(f"no lock for {path} in {tempfile.gettempdir()}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
