"""The store: every data set once on disk, as arrays ``<home>/<name>/<array>.npy`` beside a ``manifest.json``.

Arrays are uint8 ``[class, example, channel, height, width]`` and are read through memory maps, so that loading costs
milliseconds and processes share the pages. A data set is replaced whole or not at all.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from maml_bench.data import sources
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import locked

Progress = Callable[[int, int, str], None]
"""Called with (units done, units in all, what is being done); an exception it raises ends the work cleanly."""

Array = np.ndarray[Any, np.dtype[np.uint8]]

LOCK_WAIT_S = 5.0
_MANIFEST = "manifest.json"
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class ArrayInfo:
    """One stored array: its shape and dtype, the sha256 of its file, and in words how it was made."""

    shape: tuple[int, ...]
    dtype: str
    sha256: str
    how: str


@dataclass(frozen=True)
class Manifest:
    """What is stored under one name; ``classes[i]`` names ``array[i]``, ``source`` the layout that it was read from."""

    name: str
    version: int
    source: str
    classes: tuple[str, ...]
    examples_per_class: int
    arrays: dict[str, ArrayInfo]

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change whenever a class name or an array does; optional ``full...`` ones do not count."""
        counted = sorted((name, info) for name, info in self.arrays.items() if not name.startswith("full"))
        parts = [f"{name} {info.sha256}" for name, info in counted]
        return hashlib.sha256("\n".join([*parts, *self.classes]).encode()).hexdigest()[:12]

    def classes_of(self, array: str) -> tuple[str, ...]:
        """Names of the rows of ``array``."""
        return self.classes

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Inverse of :meth:`to_json`; ValueError, TypeError, KeyError or AttributeError on any other text."""
        fields = json.loads(text)
        arrays = {name: ArrayInfo(**{**info, "shape": tuple(info["shape"])}) for name, info in fields["arrays"].items()}
        return cls(**{**fields, "classes": tuple(fields["classes"]), "arrays": arrays})


def data_home() -> Path:
    """Return the folder of all stored data: ``MAML_BENCH_DATA``, else ``data`` in the user's cache folder."""
    chosen = os.environ.get("MAML_BENCH_DATA")
    return Path(chosen).expanduser().absolute() if chosen else user_cache_path("maml-bench") / "data"


def manifest(name: str) -> Manifest:
    """Return the manifest of the stored data set ``name``.

    MamlBenchError if it is unknown, not stored, unreadable, or of another version than this program writes.
    """
    version: int = sources.find(name).VERSION
    path = data_home() / name / _MANIFEST
    try:
        found = Manifest.from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise MamlBenchError(f"{name} is not stored in {data_home()}; {_advice(name)}") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise MamlBenchError(f"{path} cannot be read as a manifest; to store {name} again, {_advice(name)}") from None
    if found.version != version:
        age = "an older" if found.version < version else "a newer"
        raise MamlBenchError(
            f"{name} in {data_home()} was stored by {age} maml-bench (data version {found.version}, needed {version}); "
            f"to store it again, {_advice(name)}"
        )
    return found


def stored() -> list[Manifest]:
    """Return the manifests of all stored data sets, sorted by name; empty where nothing is stored."""
    return [manifest(name) for name in sources.names() if (data_home() / name / _MANIFEST).exists()]


def load(name: str, array: str) -> Array:
    """Return one stored array ``[class, example, C, H, W]`` as a memory map, in well under 50 ms.

    The map is copy-on-write: it may be handed to torch without a copy, and writing to it never reaches the disk.
    MamlBenchError as in :func:`manifest`, and if there is no such array or its file does not fit the manifest.
    """
    return _open(manifest(name), array)


def verify(name: str, progress: Progress | None = None) -> Manifest:
    """Read every stored array of ``name`` again and compare shape and sha256 with the manifest, which is returned.

    ``progress`` counts bytes. MamlBenchError names the file that differs.
    """
    found = manifest(name)
    paths = {array: data_home() / name / f"{array}.npy" for array in found.arrays}
    for array in paths:
        _open(found, array)
    done, total = 0, sum(path.stat().st_size for path in paths.values())
    for array, path in paths.items():
        info = found.arrays[array]
        if info.shape[:2] != (len(found.classes), found.examples_per_class):
            raise MamlBenchError(f"{path} does not hold the classes and examples that its manifest counts")

        def report(read: int, so_far: int = done, what: str = array) -> None:
            if progress:
                progress(so_far + read, total, f"verifying {name} {what}")

        if _sha256(path, report) != info.sha256:
            raise MamlBenchError(f"{path} differs from what was stored; to store it again, {_advice(name)}")
        done += path.stat().st_size
    return found


def write(
    name: str, *, version: int, source: str, classes: Sequence[str], arrays: Mapping[str, tuple[Array, str]]
) -> Manifest:
    """Store ``arrays``, each uint8 ``[class, example, C, H, W]`` with words on how it was made; return the manifest.

    A data set already stored under ``name`` is replaced whole; on any exception it stays, and nothing half-written is
    left. MamlBenchError if the folder cannot be written or another process is writing to it.
    """
    home = data_home()
    examples = {array.shape[1] for array, _ in arrays.values()}
    assert len(examples) == 1
    assert all(len(array) == len(classes) for array, _ in arrays.values())
    busy = f"another process is writing to {home}; wait for it to end, then try again"
    try:
        with locked(home, busy, LOCK_WAIT_S), _folder(home), _replacing(home / name) as folder:
            infos = {key: _save(folder / f"{key}.npy", array, how) for key, (array, how) in arrays.items()}
            written = Manifest(name, version, source, tuple(classes), examples.pop(), infos)
            with (folder / _MANIFEST).open("w", encoding="utf-8") as file:
                file.write(written.to_json())
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or "the disk may be full"  # numpy's short writes carry no strerror
        raise MamlBenchError(
            f"cannot write to the data folder {home} ({reason}); set MAML_BENCH_DATA to a folder with room and access"
        ) from None
    return written


def _advice(name: str) -> str:
    return f"add your copy with `maml-bench data add {name} PATH` or fetch it with `maml-bench data download {name}`"


def _open(found: Manifest, array: str) -> Array:
    if array not in found.arrays:
        raise MamlBenchError(f"{found.name} is stored without the array {array!r}{nearest(array, found.arrays)}")
    info = found.arrays[array]
    path = data_home() / found.name / f"{array}.npy"
    try:
        mapped: np.memmap[Any, np.dtype[np.uint8]] = np.load(path, mmap_mode="c", allow_pickle=False)
        # The file ends where the array ends: neither cut off nor followed by anything.
        whole = path.stat().st_size - mapped.offset == prod(info.shape)
    except (OSError, ValueError, EOFError):
        whole = False
    if not whole or mapped.shape != info.shape or str(mapped.dtype) != info.dtype:
        raise MamlBenchError(
            f"{path} is missing or does not fit its manifest; to store it again, {_advice(found.name)}"
        )
    return mapped


def _save(path: Path, array: Array, how: str) -> ArrayInfo:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return ArrayInfo(array.shape, str(array.dtype), _sha256(path), how)


def _sha256(path: Path, report: Callable[[int], None] = lambda read: None) -> str:
    digest, read = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            read += len(block)
            report(read)
    return digest.hexdigest()


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make ``folder`` and its missing parents; on an exception remove those made here, unless something is in them."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in made:
            with suppress(OSError):
                place.rmdir()
        raise


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that takes its place at the end; on an exception ``target`` stays."""
    new, old = (target.with_name(f".{target.name}.{secrets.token_hex(4)}") for _ in range(2))
    try:
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if target.exists():  # what else is left comes from `old` or from a crash: the lock keeps other writers away
            for leftover in target.parent.glob(f".{target.name}.*"):
                shutil.rmtree(leftover, ignore_errors=True)
