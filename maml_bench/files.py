"""Files that are whole or not there (written to a temporary name, then renamed), the user's cache folder, and locks
between processes."""

import atexit
import errno
import os
import platform
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from maml_bench.errors import CannotWrite, MamlBenchError, Notice

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a place that has no room."""

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
    """Yield a temporary path in ``target``'s folder; rename it to ``target`` on success, remove it on any exception.

    An OSError names ``target`` where it names no file or the temporary one.
    """
    try:
        with _temporary(target) as temporary:
            yield temporary
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith(_prefix(target)):
            error.filename = str(target)
        raise


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    temporary = _begun(target)
    _MINE.add(temporary.name)
    try:
        yield temporary
        with temporary.open("r+b") as written:  # Windows flushes only what may be written
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    finally:
        _MINE.discard(temporary.name)


def _begun(target: Path) -> Path:
    """Make an empty temporary file beside ``target``, and the folders that it needs."""
    for left in reversed(range(10)):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle, name = tempfile.mkstemp(prefix=_prefix(target), suffix=".tmp", dir=target.parent)
        except FileNotFoundError:  # another process has just removed the folder, see `refuse_unwritable`
            if not left:
                raise
            continue
        os.close(handle)
        return Path(name)
    raise AssertionError("the last try returns or raises")


_MINE: set[str] = set()
"""The temporary files that this process is writing."""
_LEFTOVER = re.compile(r"\..*\.([0-9a-f]{8})-(\d+)-\w+\.tmp")


def _prefix(target: Path) -> str:
    """How a temporary file for ``target`` begins: it says which process of which machine writes it."""
    return f".{target.name}.{_machine()}-{os.getpid()}-"


@cache
def _machine() -> str:
    """Eight hex digits of where numbers of processes mean the same: a start of a system, or a container in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
        name = f"{boot}{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        name = platform.node()
    return sha256(name.encode()).hexdigest()[:8]


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below ``folder`` that processes of this machine were writing when they were killed."""
    for place, _, names in os.walk(folder):
        for name in names:
            found = _LEFTOVER.fullmatch(name)
            if found is None or found[1] != _machine() or name in _MINE:
                continue
            if int(found[2]) == os.getpid() or not psutil.pid_exists(int(found[2])):
                with suppress(OSError):
                    Path(place, name).unlink()


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
    """Try to write a file beside ``path`` with a name as long. Nothing stays of it.

    Raises:
        CannotWrite: there is no room for it.
        MamlBenchError: it cannot be written for any other reason.
    """
    folder = path.parent
    made = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        with _temporary(path) as file:
            file.write_bytes(b"it can be written")
            raise _Withdrawn
    except _Withdrawn:
        pass
    except OSError as error:
        reason = f"results cannot be written to {folder}: {error.strerror}"
        nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not nearest.is_dir() or error.errno in (errno.EACCES, errno.EPERM):
            reason = f"results cannot be written: {nearest} is not a folder that you may write to"
        raise (CannotWrite if error.errno in FULL else MamlBenchError)(reason) from error
    finally:
        for place in made:
            with suppress(OSError):
                place.rmdir()


class _Withdrawn(Exception):
    """A file was written only to see whether that is possible."""


@cache
def cache_folder(name: str) -> Path:
    """The folder ``name`` below `cache_home`, made if it is not there.

    Where it cannot be written, a `Notice` says so, and it is a temporary folder that is removed when the process ends.
    """
    try:
        folder = cache_home() / name
        refuse_unwritable(folder / "a file")
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
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
def locked(path: Path, busy: str, wait_s: float = 0.0, shared: Path | None = None) -> Iterator[None]:
    """Hold the lock that belongs to ``path``. It lies in the system's temporary folder, so that folders hold only data.

    Processes on several machines see each other's locks in a folder ``shared``, which all of them can write to.

    Raises:
        MamlBenchError: another process holds it after ``wait_s`` (``busy`` says so), or there is no writing to that
            folder.
    """
    try:
        folder = Path(tempfile.gettempdir()) if shared is None else shared
        folder.mkdir(parents=True, exist_ok=True)
        _remove_locks(folder)
        lock = FileLock(_lock_file(path, folder))
        lock.acquire(timeout=max(wait_s, _WAIT_S))
    except Timeout:
        raise MamlBenchError(busy) from None
    except OSError as error:
        where = "the temporary folder" if shared is None else shared
        raise MamlBenchError(f"no lock for {path} in {where}: {error.strerror}") from error
    try:
        yield
    finally:
        _give_back(lock)


def is_locked(path: Path, shared: Path | None = None) -> bool:
    """Whether a process holds the lock that belongs to ``path``, see `locked`."""
    file = _lock_file(path, Path(tempfile.gettempdir()) if shared is None else shared)
    if not file.exists():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    _give_back(lock)
    return False


def _lock_file(path: Path, folder: Path) -> Path:
    """The file of the lock that belongs to ``path``."""
    return folder / f"maml-bench-{sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]}.lock"


_WAIT_S = 0.3
"""Longer than another process holds a lock only to remove it."""


def _give_back(lock: FileLock) -> None:
    """Release a lock, and remove its file while it is still held. Who waits for a removed file opens a new one."""
    with suppress(OSError):  # Windows removes no file that is open, but then its lock does so itself
        Path(lock.lock_file).unlink()
    lock.release()


@cache
def _remove_locks(folder: Path) -> None:
    """Remove the lock files of processes that were killed, once in a process: those that nobody holds."""
    for path in folder.glob("maml-bench-*.lock"):
        lock = FileLock(path)
        with suppress(Timeout, OSError):
            lock.acquire(timeout=0)
            _give_back(lock)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
