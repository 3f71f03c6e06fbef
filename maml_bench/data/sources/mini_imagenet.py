"""mini-ImageNet (Vinyals et al. 2016): 100 classes of 600 photographs, in the split of Ravi & Larochelle (2017).

Read from any layout in public use, checked completely, and stored as ``train``, ``validation`` and ``test``, uint8
``[class, 600, 3, 84, 84]``. There is no download: the images are under the terms of ImageNet.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock

import numpy as np

from maml_bench.data import splits, store
from maml_bench.data.disk import ArrayFile
from maml_bench.data.layouts.archives import ARCHIVE, archived, by_folder
from maml_bench.data.layouts.arrays import HDF5, PICKLE, hdf5, pickles
from maml_bench.data.layouts.files import jpegs
from maml_bench.data.layouts.found import BY_NAME, SPLITS, Layout, OneClass
from maml_bench.data.layouts.photographs import SIDE, Seen
from maml_bench.data.threads import each
from maml_bench.errors import MamlBenchError, some

NAME = "mini_imagenet"
VERSION = 1
EXAMPLES = 600
ADVICE = (
    "name a folder with train, val and test (folders of <wnid>/*.jpg, or tar archives of them), or with images and "
    f"train.csv, val.csv and test.csv, or with {PICKLE.format('train')} and its siblings, or with "
    f"{HDF5.format('train')} and its siblings"
)


def add(path: Path, *, progress: store.Progress | None = None) -> store.Manifest:
    """Store mini-ImageNet from ``path``, in any of the layouts of :mod:`maml_bench.data.layouts`.

    Classes are named by their wnid and sorted within each array. Where examples have file names they are sorted by
    them. Photographs of other sizes are resized, grey and CMYK ones converted, if they are originals: if half or more
    are 84x84, all must be, and RGB. ``progress`` counts images, then bytes hashed. MamlBenchError in one sentence for
    whatever is missing, too much, in the wrong split or damaged.
    """
    return add_parts(path, splits.load_split(NAME, "ravi").parts, EXAMPLES, progress)


def add_parts(
    path: Path, parts: Mapping[str, Sequence[str]], examples: int, progress: store.Progress | None = None
) -> store.Manifest:
    """:func:`add` for any classes by part, of ``examples`` photographs each."""
    layout = find(Path(path), examples)
    register = _Register(parts, examples)
    for found in layout.listed:
        register.admit(found)
    if not layout.streams:
        register.refuse_missing(path)
    total = examples * sum(map(len, parts.values()))
    seen = {part: Seen() for part in parts}
    with store.drafting(NAME) as draft:
        files = {part: draft.array(part, (len(names), examples, 3, SIDE, SIDE)) for part, names in parts.items()}

        def fill(found: OneClass) -> tuple[str, Seen]:
            part, row = register.places[found.wnid]
            return part, _fill(files[part], row, found)

        streams = [iter(layout.listed), *(register.admitted(stream) for stream in layout.streams)]
        with closing(each(streams, fill)) as done:
            for part, of_class in done:
                seen[part] += of_class
                if progress:
                    progress(sum(some.count for some in seen.values()), total, "reading images")
        register.refuse_missing(path)
        sum(seen.values(), Seen()).refuse_mixtures()
        return draft.finish(
            version=VERSION,
            source=layout.name,
            classes=sorted(register.places),
            how={part: f"{some}; {layout.order}" for part, some in seen.items()},
            own={part: sorted(names) for part, names in parts.items()},
            progress=progress,
        )


def _fill(file: ArrayFile, row: int, found: OneClass) -> Seen:
    """Decode a class into its row, photograph by photograph."""
    seen, planes = Seen(), np.empty(file.shape[2:], dtype=np.uint8)

    def pixels() -> Iterator[store.Array]:
        for photo in found.photos():
            seen.note(photo)
            for channel, plane in enumerate(planes):  # twice as fast as transposing at once
                plane[:] = photo.pixels[..., channel]
            yield planes

    file.fill(row, pixels())
    return seen


def find(path: Path, examples: int) -> Layout:
    """Return the layout of ``path``: a folder, one that lies right in it, or one of the files.

    A stream gives a class as soon as it has ``examples`` photographs of it, and what is short of them at its end.

    Raises:
        MamlBenchError: ``path`` does not exist or holds none of the layouts, or a part of one is missing.
    """
    if not path.exists():
        raise MamlBenchError(f"{path} does not exist; {ADVICE}")
    if path.is_file():
        if ARCHIVE.search(path.name) and not path.name.startswith(tuple(SPLITS)):
            return Layout("a tar archive", BY_NAME, [], [archived(path, examples, by_folder)])
        if not ARCHIVE.search(path.name) and path.suffix not in {".csv", ".pkl", ".hdf5", ".json"}:
            raise MamlBenchError(f"{path} is no file of mini-ImageNet; {ADVICE}")
        path = path.absolute().parent
    try:
        for place in (path, *sorted(child for child in path.iterdir() if child.is_dir())):
            if found := pickles(place) or hdf5(place) or jpegs(place, examples):
                return found
    except OSError as error:
        raise MamlBenchError(f"{error.filename} cannot be read ({error.strerror})") from None
    raise MamlBenchError(f"{path} does not hold mini-ImageNet in a known layout; {ADVICE}")


class _Register:
    """Which classes there must be, where each goes, and which were met; safe to use from several threads."""

    def __init__(self, parts: Mapping[str, Sequence[str]], examples: int) -> None:
        self.examples = examples
        self.places = {wnid: (part, row) for part, names in parts.items() for row, wnid in enumerate(sorted(names))}
        self.met: dict[str, str] = {}
        self._lock = Lock()

    def admit(self, found: OneClass) -> None:
        """Check a class against the split and its count.

        Raises:
            MamlBenchError: it is no class of the split, in the wrong part, met before, or has not ``examples`` images.
        """
        wnid, where, count = found.wnid, found.where, len(found.names)
        if wnid not in self.places:
            raise MamlBenchError(f"{where} has {wnid}, which is no class of mini-ImageNet")
        part = self.places[wnid][0]
        if found.split is not None and SPLITS[found.split] != part:
            raise MamlBenchError(
                f"{where} has {wnid} in {found.split}, but it is a {part} class of Ravi & Larochelle's split"
            )
        # Several threads read side by side, so this comes after what a class is refused for by itself, and the two
        # places are sorted: the sentence is the same whichever thread is the faster one.
        with self._lock:
            if wnid in self.met:
                one, other = sorted((self.met[wnid], where))
                raise MamlBenchError(f"{wnid} is there twice: in {one} and again in {other}")
            self.met[wnid] = where
        repeated = [name for name, times in Counter(found.names).items() if times > 1]
        if repeated:
            raise MamlBenchError(f"{where} has {min(repeated)} twice")
        if count != self.examples:
            raise MamlBenchError(f"{where} has {count} images of {wnid} instead of {self.examples}")

    def admitted(self, stream: Iterable[OneClass]) -> Iterator[OneClass]:
        """The classes of ``stream``, each after :meth:`admit`."""
        for found in stream:
            self.admit(found)
            yield found

    def refuse_missing(self, path: Path) -> None:
        """MamlBenchError if a class has not been met."""
        missing = sorted(set(self.places) - set(self.met))
        if missing:
            raise MamlBenchError(
                f"{path} lacks {len(missing)} of the {len(self.places)} classes of mini-ImageNet: {some(missing)}"
            )
