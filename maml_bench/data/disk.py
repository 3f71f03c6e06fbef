"""Arrays are written to disk piece by piece, in a folder that replaces the old one completely or not at all."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.uint8]]


class ArrayFile:
    """A new ``.npy`` file of uint8 ``shape``, filled row by row in any order and from any thread.

    Rows are written and not memory-mapped: on a full disk a write raises an error, but a map would kill the process.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape = path, shape
        self._left = set(range(shape[0]))
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            self._start = file.tell()

    def fill(self, index: int, parts: Iterable[Array]) -> None:
        """Fill row ``index``, once, with uint8 arrays ``shape[2:]``, written as they come."""
        self._left.remove(index)
        count, shape = self.shape[1], self.shape[2:]
        with self.path.open("r+b") as file:
            file.seek(self._start + index * count * prod(shape))
            for _, part in zip(range(count), parts, strict=True):
                assert part.shape == shape
                assert part.dtype == np.uint8
                file.write(np.ascontiguousarray(part).data)

    def finish(self) -> str:
        """Wait until the whole file is on disk; return its sha256."""
        assert not self._left, f"rows {self._left} were never filled"
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())
        return sha256(self.path)


def whole(path: Path, offset: int, shape: tuple[int, ...]) -> bool:
    """Whether the file ends where its array ends, so that it is neither cut off nor followed by other bytes."""
    return path.stat().st_size - offset == prod(shape)


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def present(folder: Path) -> Iterator[None]:
    """Make ``folder`` and its missing parents; on an exception remove those made here that are empty."""
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
def replacing(target: Path) -> Iterator[Path]:
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
        if target.exists():  # other leftovers are `old` or come from a crash: the lock keeps other writers away
            for leftover in target.parent.glob(f".{target.name}.*"):
                shutil.rmtree(leftover, ignore_errors=True)
