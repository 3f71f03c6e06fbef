"""Images in classes that may differ in size, in memory or as a memory map of the store."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maml_bench.data import own, splits, store
from maml_bench.data.class_draws import ChosenSplit, split
from maml_bench.data.disk import Array
from maml_bench.data.layouts.pictures import Listing, Source, listed
from maml_bench.data.preparation import Colour, Preparation, Resize
from maml_bench.errors import MamlBenchError, Notice

__all__ = ["ImageFolder", "Images", "Preparation"]

KNOWN = {"omniglot": ("finn", "grey28"), "mini_imagenet": ("ravi", "")}
"""Split and array that data sets of this package are read by; without an array, each part has its own."""


@dataclass(frozen=True)
class Images:
    """Classes of images that have one size.

    Attributes:
        pixels: uint8 ``[images, C, H, W]`` in the order of the classes, sum(sizes) images in all.
        sizes: the number of images of each class.
        classes: the name of each class.
        how: how pictures were prepared, so that others can be prepared alike.
    """

    pixels: Tensor
    sizes: tuple[int, ...]
    classes: tuple[str, ...]
    how: Preparation

    def __post_init__(self) -> None:
        """MamlBenchError: the fields do not fit together."""
        shape, side = tuple(self.pixels.shape), self.how.size
        if shape != (sum(self.sizes), self.how.channels, side, side) or self.pixels.dtype != torch.uint8:
            raise MamlBenchError(
                f"the pixels are {self.pixels.dtype} {list(shape)}, but must be uint8 "
                f"{[sum(self.sizes), self.how.channels, side, side]}"
            )
        if len(self.sizes) != len(self.classes):
            raise MamlBenchError(f"there are {len(self.sizes)} sizes, but {len(self.classes)} names of classes")


def load_part(name: str, part: str) -> Images:
    """Return a part (train, validation or test) of the stored data set ``name``; the pixels stay a memory map.

    Of Omniglot these are the grey 28x28 images by the split `finn`, and of mini-ImageNet those of the split `ravi`.

    Raises:
        MamlBenchError: it is not stored, or the part has no classes.
    """
    found = store.manifest(name)
    if found.name in KNOWN:
        pinned, array = splits.load_split(found.name, KNOWN[found.name][0]), KNOWN[found.name][1] or part
        rows = torch.from_numpy(splits.indices(pinned, part, found.classes_of(array)))
        pixels = torch.from_numpy(store.load(name, array))
        if not torch.equal(rows, torch.arange(len(pixels))):
            pixels = pixels[rows]
        how = Preparation(pixels.shape[-1], "rgb" if pixels.shape[-3] == 3 else "grey", "stretch")
        return Images(pixels.flatten(0, 1), (pixels.shape[1],) * len(rows), pinned.parts[part], how)
    if part not in found.arrays:
        has = ", ".join(p for p in splits.PARTS if p in found.arrays)
        raise MamlBenchError(
            f"{name} has no {part} classes (it has: {has}); add it again with other parts, such as "
            f"`maml-bench data add {name} PATH --parts 0.64,0.16,0.2`"
        )
    how = Preparation(**(found.preparation or {}))  # type: ignore[arg-type]
    return Images(torch.from_numpy(store.load(name, part)), found.sizes_of(part), found.classes_of(part), how)


class ImageFolder:
    """Pictures of the user's in classes, decoded into memory when they are first needed.

    ``source`` is a folder of class folders, a CSV file with the columns path, label and perhaps split, or a data set
    with ``__len__`` and ``__getitem__`` that returns a picture and its label (and perhaps ``classes``, the names of the
    labels), as those of torchvision. Pictures are prepared as in the store, see `Preparation`.

    Attributes:
        how: the preparation.
        classes: the names of the classes with at least two pictures, sorted.
        counts: the number of pictures of each.

    Raises:
        MamlBenchError: there are no pictures, or the layout is wrong; from what decodes: a picture is damaged.
    """

    def __init__(self, source: Source, size: int = 84, colour: Colour = "rgb", resize: Resize = "crop") -> None:
        self.how = Preparation(size, colour, resize)
        self._source = source
        self._listing: Listing = listed(source)
        self._all = split(self._listing, parts=(0.0, 0.0, 1.0))
        whole = self._all.parts["test"]
        self.classes = tuple(one.name for one in whole)
        self.counts = {one.name: len(one.items) for one in whole}

    def __repr__(self) -> str:
        return f"ImageFolder({len(self.classes)} classes, {sum(self.counts.values())} pictures, {self.how})"

    @property
    def images(self) -> Images:
        """All classes. The pictures are decoded at the first call; `Notice` tells what was ignored or converted."""
        return Images(self._decoded[0], tuple(self.counts.values()), self.classes, self.how)

    def split(
        self,
        train: float | None = None,
        validation: float | None = None,
        test: float | None = None,
        seed: int = 0,
        *,
        allow_duplicates: bool = False,
    ) -> tuple[Images, Images, Images]:
        """Split the classes into training, validation and test; the pixels of each part are a copy.

        Args:
            train: a number of classes, or a fraction of them, as all three are; where one is given, those that are not
                are 0. Without any, the parts are those of the folders or of the CSV file, or else 64, 16 and 20 %.
            validation: likewise.
            test: likewise.
            seed: of the draw. The same numbers and seed give the same split as ``maml-bench data add``.
            allow_duplicates: whether two parts may hold pictures that are the same.

        Raises:
            MamlBenchError: there are too few classes, or two parts hold the same picture.
        """
        given = (train, validation, test)
        fractions = any(isinstance(part, float) for part in given)
        parts = [(0.0 if fractions else 0) if part is None else part for part in given]
        chosen = split(self._listing, parts=None if given == (None, None, None) else parts, seed=seed or None)
        pixels, digests = self._decoded
        place_of = {id(item): place for place, item in enumerate(own.items_of(self._all))}
        order = {p: [place_of[id(i)] for one in of_part for i in one.items] for p, of_part in chosen.parts.items()}
        in_order = [digests[place] for of_part in order.values() for place in of_part]
        for sentence in own.repeated(chosen, in_order, allow_duplicates):
            warnings.warn(sentence, Notice, stacklevel=2)
        return tuple(self._part(chosen, part, pixels, places) for part, places in order.items())  # type: ignore[return-value]

    def _part(self, chosen: ChosenSplit, part: str, pixels: Tensor, places: list[int]) -> Images:
        classes = chosen.parts[part]
        sizes = tuple(len(one.items) for one in classes)
        return Images(pixels[torch.tensor(places, dtype=torch.long)], sizes, tuple(chosen.names[part]), self.how)

    def add(self, name: str, **options: Any) -> store.Manifest:
        """Store the pictures under ``name``, for recipes such as ``images-5w1s:name``. Options: see `data.own.add`."""
        options |= {"split_file": Path(options["split_file"])} if options.get("split_file") else {}
        return own.add(name, self._source, how=self.how, **options)

    @cached_property
    def _decoded(self) -> tuple[Tensor, list[bytes]]:
        """The pixels of all pictures, and a hash of each."""
        items = own.items_of(self._all)
        pixels = torch.empty(len(items), self.how.channels, self.how.size, self.how.size, dtype=torch.uint8)

        def put(place: int, found: Array) -> None:
            pixels[place] = torch.from_numpy(found)

        seen = own.decoded(items, self.how, put)
        for sentence in own.about(self._listing, self._all, seen):
            warnings.warn(sentence, Notice, stacklevel=4)
        return pixels, seen.digests
