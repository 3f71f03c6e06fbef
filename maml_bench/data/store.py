"""The store: every data set is on disk once, as arrays ``<home>/<name>/<array>.npy`` beside a ``manifest.json``.

Arrays are uint8 ``[class, example, channel, height, width]`` and are read through memory maps, so that loading costs
milliseconds and processes share the pages. A data set is replaced completely or not at all.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from maml_bench.checked import construct
from maml_bench.checksum import BLANK, is_sealed, seal
from maml_bench.data import sources
from maml_bench.data.disk import Array, ArrayFile, present, replacing, sha256, whole
from maml_bench.data.threads import each
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import cache_home, locked

Progress = Callable[[int, int, str], None]
"""Called with (units done, units in all, what is being done); an exception it raises ends the work cleanly."""

__all__ = ["Array", "ArrayInfo", "Draft", "Manifest", "Progress", "data_home", "drafting", "load", "manifest", "stored",
           "verify", "write"]  # fmt: skip

LOCK_WAIT_S = 5.0
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ArrayInfo:
    """One stored array: its shape and dtype, the sha256 of its file, and a description of how it was made.

    ``classes`` names its rows if they differ from those of the data set; otherwise it is None.
    """

    shape: tuple[int, ...]
    dtype: str
    sha256: str
    how: str
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """What is stored under one name; ``source`` names the layout that it was read from.

    ``classes[i]`` names ``array[i]``. If arrays have their own classes, ``classes`` are those of all arrays together.
    """

    name: str
    version: int
    source: str
    classes: tuple[str, ...]
    examples_per_class: int
    arrays: dict[str, ArrayInfo]

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with every class name and array.

        Arrays that a store may lack do not count: the optional ``full...``, and ``area...``, which came later.
        """
        counted = sorted((name, info) for name, info in self.arrays.items() if not name.startswith(("full", "area")))
        parts = [f"{name} {info.sha256}" for name, info in counted]
        own = [f"{name} {label}" for name, info in counted for label in info.classes or ()]
        return hashlib.sha256("\n".join([*parts, *self.classes, *own]).encode()).hexdigest()[:12]

    def classes_of(self, array: str) -> tuple[str, ...]:
        """Names of the rows of ``array``."""
        own = self.arrays[array].classes
        return self.classes if own is None else own

    def to_json(self) -> str:
        """Return the manifest as JSON text with a checksum of it."""
        content = asdict(self)
        for info in content["arrays"].values():
            if info["classes"] is None:
                del info["classes"]
        return seal(json.dumps(content | {"checksum": BLANK.decode()}, indent=1).encode()).decode()

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Inverse of :meth:`to_json`; ValueError or MamlBenchError on any other text. Older texts have no checksum."""
        content = json.loads(text)
        checksum = content.pop("checksum", None) if isinstance(content, dict) else None
        if checksum is not None and not is_sealed(text.encode(), str(checksum).encode()):
            raise ValueError("the checksum differs")
        return construct(cls, content, "the manifest")


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
    source = sources.find(name)
    name, version, path = sources.shown(name), int(source.VERSION), data_home() / source.NAME / _MANIFEST
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


def stored() -> list[Manifest]:
    """Return the manifests of all stored data sets, sorted by name; empty where nothing is stored."""
    return [manifest(name) for name in sources.names() if (data_home() / name / _MANIFEST).exists()]


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
        if info.shape[:2] != (len(found.classes_of(array)), found.examples_per_class):
            raise MamlBenchError(f"{path} does not hold the classes and examples that its manifest counts")
        if sha256(path) != info.sha256:
            raise _differs(path, name)
        done += path.stat().st_size
        if progress:
            progress(done, total, f"verifying {name} {array}")
    return found


class Draft:
    """A data set that is being written to the store: create its arrays, fill them, then call `finish`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder
        self._files: dict[str, ArrayFile] = {}

    def array(self, key: str, shape: tuple[int, ...]) -> ArrayFile:
        """The new array ``key``, uint8 ``[class, example, C, H, W]``, to be filled class by class."""
        self._files[key] = ArrayFile(self._folder / f"{key}.npy", shape)
        return self._files[key]

    def finish(
        self,
        *,
        version: int,
        source: str,
        classes: Sequence[str],
        how: Mapping[str, str],
        own: Mapping[str, Sequence[str]] | None = None,
        progress: Progress | None = None,
    ) -> Manifest:
        """Hash the arrays, all of which are filled, and write the manifest.

        Args:
            version: that of the source module.
            source: the layout that the data were read from.
            classes: the classes of all arrays together.
            how: a description of how each array was made.
            own: the classes of the arrays that have their own.
            progress: counts the bytes hashed.
        """
        labels = {key: tuple(own[key]) if own and key in own else None for key in self._files}
        examples = {file.shape[1] for file in self._files.values()}
        assert len(examples) == 1
        assert all(file.shape[0] == len(labels[key] or classes) for key, file in self._files.items())
        sizes = {key: file.path.stat().st_size for key, file in self._files.items()}
        digests: dict[str, str] = {}
        with closing(each([iter(self._files)], lambda key: (key, self._files[key].finish()))) as done:
            for key, digest in done:
                digests[key] = digest
                if progress:
                    progress(sum(sizes[key] for key in digests), sum(sizes.values()), "hashing")
        infos = {
            key: ArrayInfo(file.shape, "uint8", digests[key], how[key], labels[key])
            for key, file in self._files.items()
        }
        written = Manifest(self.name, version, source, tuple(classes), examples.pop(), infos)
        with (self._folder / _MANIFEST).open("w", encoding="utf-8") as file:
            file.write(written.to_json())
            file.flush()
            os.fsync(file.fileno())
        return written


@contextmanager
def drafting(name: str) -> Iterator[Draft]:
    """Yield a draft of the data set ``name`` that is stored when the block ends, in place of what was stored before.

    On any exception the earlier data stay, and nothing half-written remains. MamlBenchError if the folder cannot be
    written or another process is writing to it.
    """
    home = data_home()
    busy = f"another process is writing to {home}; wait for it to end, then try again"
    try:
        with locked(home, busy, LOCK_WAIT_S), present(home), replacing(home / name) as folder:
            yield Draft(name, folder)
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
    shown, fetched = sources.shown(name), hasattr(sources.find(name), "download")
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
