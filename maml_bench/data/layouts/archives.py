"""Classes of photographs in tar archives, which are read once from the start and never unpacked to disk."""

import gzip
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from maml_bench.data.layouts.found import SPLITS, Lists, OneClass
from maml_bench.data.layouts.photographs import decode
from maml_bench.errors import MamlBenchError

ARCHIVE = re.compile(r"\.(tar|tar\.gz|tgz|tar\.xz|txz)$")
WNID = re.compile(r"n\d{8}")
_BLOCK_BYTES = 1 << 20


def is_image(name: str) -> bool:
    """Whether a file is a photograph, by its name."""
    return name.lower().endswith((".jpg", ".jpeg")) and not name.startswith(".")


Label = Callable[[str], tuple[str, str | None] | None]
"""Path in an archive to wnid and split; None for what is no image."""


def by_folder(path: str) -> tuple[str, str | None] | None:
    """``.../<split>/<wnid>/<image>``, or without a split."""
    folders = path.split("/")[-3:-1]
    if not folders or not WNID.fullmatch(folders[-1]):
        return None
    return folders[-1], folders[0] if folders[0] in SPLITS else None


def by_list(lists: Lists) -> Label:
    """Whatever the folder, by the name that the lists have."""
    labels = {name: (wnid, split) for wnid, (split, names) in lists.items() for name in names}
    return lambda path: labels.get(path.rpartition("/")[2])


def archived(path: Path, examples: int, label: Label) -> Iterator[OneClass]:
    """The classes in a tar archive, each as soon as it has ``examples`` photographs, those short of them at the end.

    Raises:
        MamlBenchError: it is damaged or holds something else, a class has more, or stands in two splits.
    """
    held: dict[str, tuple[str | None, list[tuple[str, bytes]]]] = {}
    given: set[str] = set()

    def one(wnid: str) -> OneClass:
        split, files = held.pop(wnid)
        given.add(wnid)
        files.sort(key=lambda file: file[0])
        where = f"{split}/{wnid} in {path}" if split else f"{wnid} in {path}"
        return OneClass(
            wnid, split, where, [name for name, _ in files],
            lambda: (decode(content, f"{name} in {path}") for name, content in files),
        )  # fmt: skip

    try:
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name.endswith((".pkl", ".hdf5")) and not name.startswith("."):
                    raise MamlBenchError(f"{path} holds {name}: extract it, then name the folder")
                labelled = label(member.name) if member.isfile() and is_image(name) else None
                if labelled is None:
                    continue
                wnid, split = labelled
                if wnid in given:
                    raise MamlBenchError(f"{path} has more than {examples} images of {wnid}")
                before, files = held.setdefault(wnid, (split, []))
                if before != split:
                    raise MamlBenchError(f"{wnid} stands in {before} and again in {split} of {path}")
                files.append((name, archive.extractfile(member).read()))  # type: ignore[union-attr]
                if len(files) == examples:
                    yield one(wnid)
            while file.read(_BLOCK_BYTES):  # the checksums at its end
                pass
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError):
        raise MamlBenchError(f"{path} is not a whole tar archive; it may have been cut off or damaged") from None
    for wnid in list(held):
        yield one(wnid)


def _opened(path: Path) -> IO[bytes]:
    if path.name.endswith("xz"):
        return lzma.open(path)
    return gzip.open(path) if path.name.endswith("gz") else path.open("rb")  # type: ignore[return-value]
