"""What is found of a data set: classes of photographs, listed beforehand or streamed."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from maml_bench.data.layouts.photographs import Photo
from maml_bench.errors import MamlBenchError

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""The parts of a split as files name them, and as this program does."""

BY_NAME = "examples in order of file name"

Lists = dict[str, tuple[str, list[str]]]
"""The split and the file names of each class, by wnid."""


class OneClass(NamedTuple):
    """Photographs of a class: its wnid, the split that the layout puts it in, if any, and where it lies, in words.

    ``names`` are its files, in the order of ``photos()``; those of arrays are their places.
    """

    wnid: str
    split: str | None
    where: str
    names: list[str]
    photos: Callable[[], Iterable[Photo]]


class Layout(NamedTuple):
    """What was found: the layout's name, the order of examples in words, the classes that can be listed beforehand, and
    streams of those that cannot."""

    name: str
    order: str
    listed: list[OneClass]
    streams: list[Iterator[OneClass]]


def three(place: Path, pattern: str) -> dict[str, Path]:
    """The files of the three splits; empty if there is none.

    Raises:
        MamlBenchError: there are one or two.
    """
    paths = {split: place / pattern.format(split) for split in SPLITS}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if 0 < len(missing) < len(paths):
        raise MamlBenchError(f"{place} lacks {' and '.join(missing)}")
    return {} if missing else paths
