"""Files that are whole or not there (written to a temporary name, then renamed), the user's cache folder, and locks
between processes."""

import atexit
import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from maml_bench.errors import CannotWrite, MamlBenchError, Notice

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a place that has no room."""


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


def read_bytes(path: Path) -> bytes:
    """The content of a file; OSError where it cannot be read, and for a pipe, which could wait for a writer forever."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "It is no regular file", str(path))
    return path.read_bytes()


def refuse_unwritable(path: Path) -> None:
    """Try to write a file beside ``path`` with a name as long, and to make the folders that it needs.

    Raises:
        CannotWrite: there is no room for it.
        MamlBenchError: it cannot be written for any other reason.
    """
    folder = path.parent
    made = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", suffix=".tmp", dir=folder) as file:
            file.write(b"it can be written")
            file.flush()
    except OSError as error:
        for place in made:
            with suppress(OSError):
                place.rmdir()
        reason = f"results cannot be written to {folder}: {error.strerror}"
        nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not nearest.is_dir() or error.errno in (errno.EACCES, errno.EPERM):
            reason = f"results cannot be written: {nearest} is not a folder that you may write to"
        raise (CannotWrite if error.errno in FULL else MamlBenchError)(reason) from error


@cache
def cache_folder(name: str) -> Path:
    """The folder ``name`` below `cache_home`, made if it is not there.

    Where it cannot be written, a `Notice` says so, and it is a temporary folder that is removed when the process ends.
    """
    try:
        folder = cache_home() / name
        refuse_unwritable(folder / "a file")
        return folder
    except (MamlBenchError, OSError) as error:
        temporary = tempfile.mkdtemp(prefix="maml-bench-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        reason = str(error).replace("results cannot be written", "the cache cannot be written")
        warnings.warn(
            f"{reason}; a temporary folder is used instead. Set XDG_CACHE_HOME to a folder that you may write to",
            Notice,
            stacklevel=2,
        )
        return Path(temporary)


def cache_home() -> Path:
    """The folder of maml-bench in the user's cache folder, which need not exist.

    Raises:
        MamlBenchError: the user has no home folder, and no variable names a cache folder.
    """
    try:
        path = user_cache_path("maml-bench")
    except RuntimeError:  # Python's word for a home folder that nobody knows
        path = Path("~")
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
    name = sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]
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
