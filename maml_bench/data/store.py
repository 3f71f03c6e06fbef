"""The store: every data set is on disk once, as arrays ``<home>/<name>/<array>.npy`` beside a ``manifest.json``.

Arrays are uint8 ``[class, example, channel, height, width]``, or ``[image, channel, height, width]`` in the order of
the classes where these may differ in size. They are read through memory maps, so that loading costs milliseconds and
processes share the pages. A data set is replaced completely or not at all.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from maml_bench.data import kept_pictures, sources
from maml_bench.data.disk import Array, present, replacing, sha256, whole
from maml_bench.data.draft import Draft, Progress
from maml_bench.data.manifest import MANIFEST, SPLIT, ArrayInfo, Manifest
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import cache_home, locked

__all__ = ["SPLIT", "Array", "ArrayInfo", "Draft", "Manifest", "Progress", "data_home", "drafting", "load", "manifest",
           "place", "remove", "stored", "verify", "write"]  # fmt: skip

LOCK_WAIT_S = 5.0
OWN_VERSION = 1
"""The version of the arrays of data sets of the user's."""


def data_home() -> Path:
    """Return the folder of all stored data: ``MAML_BENCH_DATA``, else ``data`` in the user's cache folder.

    MamlBenchError if there is no such user as the variable names, or no cache folder.
    """
    chosen = os.environ.get("MAML_BENCH_DATA")
    try:
        return Path(chosen).expanduser().absolute() if chosen else cache_home() / "data"
    except RuntimeError:  # Python's word for a home folder that nobody knows
        raise MamlBenchError(f"MAML_BENCH_DATA is {chosen!r}, but there is no home folder of that user") from None


def manifest(name: str) -> Manifest:
    """Return the manifest of the stored data set ``name``, with ``-`` or ``_``.

    MamlBenchError if it is unknown, not stored, unreadable, or of another version than this program writes.
    """
    folder, version = _folder_of(name)
    name, path = sources.shown(name), data_home() / folder / MANIFEST
    try:
        found = Manifest.from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise MamlBenchError(f"{name} is not stored in {data_home()}; {_advice(name)}") from None
    except (OSError, ValueError, MamlBenchError):
        raise MamlBenchError(f"{path} cannot be read as a manifest; to store {name} again, {_advice(name)}") from None
    if found.version != version:
        age = "an older" if found.version < version else "a newer"
        raise MamlBenchError(
            f"{name} in {data_home()} was stored by {age} maml-bench (data version {found.version}, needed {version}); "
            f"to store it again, {_advice(name)}"
        )
    return found


def _folder_of(name: str) -> tuple[str, int]:
    """The folder of a data set in the store, and the version of its arrays that this program reads.

    MamlBenchError if this package does not know the data set, and none of the user's with that name is stored.
    """
    if sources.is_known(name):
        source = sources.find(name)
        return source.NAME, int(source.VERSION)
    if name not in own_names():
        known = [*map(sources.shown, sources.names()), *own_names()]
        raise MamlBenchError(f"there is no data set {name!r}{nearest(name, known)}")
    return name, OWN_VERSION


def own_names() -> list[str]:
    """Return the names of the stored data sets of the user's, sorted."""
    try:
        found = [place.name for place in data_home().iterdir() if (place / MANIFEST).exists()]
    except OSError:
        return []
    return sorted(name for name in found if not name.startswith(".") and not sources.is_known(name))


def stored() -> list[Manifest]:
    """Return the manifests of all stored data sets: those that this package knows, then those of the user's."""
    known = [name for name in sources.names() if (data_home() / name / MANIFEST).exists()]
    return [manifest(name) for name in (*known, *own_names())]


def place(name: str) -> Path:
    """Return the folder of the stored data set ``name``; MamlBenchError if it is not stored."""
    folder = data_home() / _folder_of(name)[0]
    if not (folder / MANIFEST).exists():
        raise MamlBenchError(f"{sources.shown(name)} is not stored in {data_home()}")
    return folder


def remove(name: str) -> None:
    """Remove the stored data set ``name``, also one that cannot be read, and what an interrupted call kept for it.

    MamlBenchError if it is not stored, its folder holds anything else, or it cannot be removed.
    """
    folder = place(name)
    with _writing() as home:
        _refuse_foreign(folder)
        gone = home / f".{folder.name}.{secrets.token_hex(4)}"
        folder.rename(gone)
        shutil.rmtree(gone)
        kept_pictures.forget(kept_pictures.place_of(home, folder.name))


def load(name: str, array: str) -> Array:
    """Return one stored array ``[class, example, C, H, W]`` as a memory map.

    The map is copy-on-write: it may be handed to torch without a copy, and writing to it never reaches the disk. The
    first time in a process the file is hashed, a second for each gigabyte; later it takes well under 50 ms.
    MamlBenchError as in :func:`manifest`, and if there is no such array or its file does not fit the manifest.
    """
    found = manifest(name)
    mapped = _open(found, array)
    path = data_home() / found.name / f"{array}.npy"
    state = path.stat()
    if _known_sha256(path, (state.st_ino, state.st_size, state.st_mtime_ns)) != found.arrays[array].sha256:
        raise _differs(path, name)
    return mapped


@cache
def _known_sha256(path: Path, state: tuple[int, ...]) -> str:
    """The hash of a file in one state, taken once in a process."""
    return sha256(path)


def _differs(path: Path, name: str) -> MamlBenchError:
    return MamlBenchError(f"{path} differs from what was stored; to store it again, {_advice(name)}")


def verify(name: str, progress: Progress | None = None) -> Manifest:
    """Read every stored array of ``name`` again and compare shape and sha256 with the manifest, which is returned.

    ``progress`` counts bytes, array after array. MamlBenchError names the file that differs.
    """
    found = manifest(name)
    name = sources.shown(found.name)
    paths = {array: data_home() / found.name / f"{array}.npy" for array in found.arrays}
    for array in paths:
        _open(found, array)
    done, total = 0, sum(path.stat().st_size for path in paths.values())
    for array, path in paths.items():
        info = found.arrays[array]
        sizes = found.sizes_of(array)
        counted = (len(sizes), found.examples_per_class) if info.sizes is None else (sum(sizes),)
        if info.shape[: len(counted)] != counted or len(sizes) != len(found.classes_of(array)):
            raise MamlBenchError(f"{path} does not hold the classes and examples that its manifest counts")
        if sha256(path) != info.sha256:
            raise _differs(path, name)
        done += path.stat().st_size
        if progress:
            progress(done, total, f"verifying {name} {array}")
    return found


@contextmanager
def drafting(name: str) -> Iterator[Draft]:
    """Yield a draft of the data set ``name`` that is stored when the block ends, in place of what was stored before.

    On any exception the earlier data stay, and nothing half-written remains. MamlBenchError if the folder cannot be
    written or another process is writing to it.
    """
    with _writing() as home:
        _refuse_foreign(home / name)
        with replacing(home / name) as folder:
            yield Draft(name, folder)


def _refuse_foreign(folder: Path) -> None:
    """Raise MamlBenchError if a folder to be replaced or removed holds more than a data set, such as pictures."""
    known = (MANIFEST, SPLIT)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or any(path.suffix != ".npy" and path.name not in known for path in folder.iterdir()):
        raise MamlBenchError(
            f"{folder} holds other files than those of a stored data set, so it is neither replaced nor removed: "
            "choose another name, or set MAML_BENCH_DATA to another folder"
        )


@contextmanager
def _writing() -> Iterator[Path]:
    """Yield the folder of all stored data, to which no other process writes meanwhile; see `drafting`."""
    home = data_home()
    busy = f"another process is writing to {home}; wait for it to end, then try again"
    try:
        with locked(home, busy, LOCK_WAIT_S), present(home):
            yield home
    except OSError as error:
        reason = error.strerror or "the disk may be full"  # short writes carry no strerror
        raise MamlBenchError(
            f"cannot write to the data folder {home} ({reason}); set MAML_BENCH_DATA to a folder with room and access"
        ) from None


def write(
    name: str, *, version: int, source: str, classes: Sequence[str], arrays: Mapping[str, tuple[Array, str]]
) -> Manifest:
    """Store ``arrays``, each uint8 ``[class, example, C, H, W]`` with a description of its making; return the manifest.

    See :func:`drafting` on what happens to earlier data, and on exceptions.
    """
    with drafting(name) as draft:
        for key, (array, _) in arrays.items():
            file = draft.array(key, array.shape)
            for index, row in enumerate(array):
                file.fill(index, row)
        return draft.finish(
            version=version, source=source, classes=classes, how={key: how for key, (_, how) in arrays.items()}
        )


def _advice(name: str) -> str:
    shown, fetched = sources.shown(name), sources.is_known(name) and hasattr(sources.find(name), "download")
    fetch = f" or fetch it with `maml-bench data download {shown}`" if fetched else ""
    return f"add your copy with `maml-bench data add {shown} PATH`{fetch}"


def _open(found: Manifest, array: str) -> Array:
    if array not in found.arrays:
        raise MamlBenchError(
            f"{sources.shown(found.name)} is stored without the array {array!r}{nearest(array, found.arrays)}; "
            f"to store it again, {_advice(found.name)}"
        )
    info = found.arrays[array]
    path = data_home() / found.name / f"{array}.npy"
    try:
        mapped: np.memmap[Any, np.dtype[np.uint8]] = np.load(path, mmap_mode="c", allow_pickle=False)
        fits = whole(path, mapped.offset, info.shape)
    except Exception:  # numpy reads the header as Python code, so a damaged one can raise anything
        fits = False
    if not fits or mapped.shape != info.shape or str(mapped.dtype) != info.dtype:
        raise MamlBenchError(
            f"{path} is missing or does not fit its manifest; to store it again, {_advice(found.name)}"
        )
    return mapped
