"""The user's own images, N-way K-shot classification. The settings are those of MAML on mini-ImageNet: Finn, Abbeel &
Levine (2017), "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", section 5.2.

The data set is one that `maml-bench data add` has stored, or several `data.images.Images` in memory (see
`tasks._shared.in_memory`). Its classes may differ in size. Those with too few images for an episode are left out.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_doc import Doc
from torch import Tensor

from maml_bench.checked import later
from maml_bench.classification import ImageClassification, ImageNetwork, Joint, Normalisation, ResidualOptions
from maml_bench.data import splits, store
from maml_bench.data.images import KNOWN, Images, load_part
from maml_bench.data.preparation import Preparation
from maml_bench.declared import OfNetwork, When
from maml_bench.errors import MamlBenchError, Notice, some
from maml_bench.models import Conv
from maml_bench.resnet import Residual
from maml_bench.tasks._shared.photographs import CONV, Pixels, scaled
from maml_bench.types import Shape


@dataclass(frozen=True)
class OwnImages(ImageClassification):
    """Tasks of N random classes of one part of the data set ``data``, in test those of ``test_data``."""

    data: Annotated[str, Doc("Name of the stored data set, see `maml-bench data list`.")] = ""
    test_data: Annotated[
        str, Doc("Name of the stored data set whose test classes the tests are of; empty for those of `data`.")
    ] = ""
    pixels: Pixels = "unit"
    normalisation: Normalisation = "transductive"
    conv: Annotated[Conv, OfNetwork(), Doc("The options of `conv4`."), When("network", ("conv4",))] = CONV
    joint: Joint = False
    network: ImageNetwork = later("conv4")
    resnet: ResidualOptions = later(Residual())

    name: ClassVar[str] = "images"

    def scaled(self, x: Tensor) -> Tensor:
        return scaled(x, self.pixels)

    @property
    def preparation(self) -> Preparation:
        return self.part("train").how

    def fingerprint(self) -> dict[str, Any]:
        """Name, version and content hash of the data set, and where the tests are of another one, also of that."""
        found = _identity(self._data_set("train"))
        return found | ({"test_data": _identity(self._data_set("test"))} if self.test_data else {})

    def part(self, split: str) -> Images:
        """The images of a part of the split.

        Raises:
            MamlBenchError: no data set is named, it is not stored, or it does not have the part or the size.
        """
        if split not in splits.PARTS:
            raise MamlBenchError(f"{self.name} has no split {split!r} (known: {', '.join(splits.PARTS)})")
        if split not in self._parts:
            self._parts[split] = self._load(split)
        return self._parts[split]

    def _load(self, split: str) -> Images:
        """As `part`, from where the images are kept."""
        found = load_part(self._data_set(split), split)
        if split != "test" or not self.test_data:
            return found
        train = self.part("train").how
        if (train.size, train.colour) != (found.how.size, found.how.colour):
            raise MamlBenchError(
                f"the images of {self.data} are {train.size}x{train.size} {train.colour}, but those of "
                f"{self.test_data} are {found.how.size}x{found.how.size} {found.how.colour}: add them again "
                f"with `maml-bench data add {self.test_data} PATH --size {train.size} --colour {train.colour}`"
            )
        return found

    def _data_set(self, split: str) -> str:
        """The name of the data set that a part of the split is taken from."""
        if not self.data:
            names = [manifest.name for manifest in store.stored()]
            some = f" (stored: {', '.join(names)})" if names else ""
            raise MamlBenchError(
                f"these tasks need a data set of yours{some}: add one with `maml-bench data add NAME FOLDER`, and run "
                "a recipe on it with `maml-bench run images-5w1s --data NAME`"
            )
        return self.test_data if split == "test" and self.test_data else self.data

    def _images_of(self, split: str, device: str) -> Tensor:
        """The pixels of a part, copied to each device once; on the CPU they stay where they are."""
        if (split, device) not in self._copies:
            self._copies[split, device] = self.part(split).pixels.to(device)
        return self._copies[split, device]

    def _rows(self, split: str) -> np.ndarray:
        return np.arange(len(self.part(split).sizes))

    def _sizes(self, split: str) -> tuple[int, ...]:
        return self.part(split).sizes

    def _enough(self, split: str, shape: Shape) -> np.ndarray:
        """The classes of a part with enough images; a `Notice` counts the others.

        Raises:
            MamlBenchError: they are fewer than ``shape.way``.
        """
        needed = shape.shot + shape.query
        if (split, needed) not in self._large:
            part = self.part(split)
            sizes = np.array(part.sizes)
            enough = np.flatnonzero(sizes >= needed)
            least = int(sizes.argmin())
            why = (
                f"the {needed} images that {shape.shot} shots and {shape.query} queries of a class need (the smallest, "
                f"{part.classes[least]}, has {sizes[least]})"
            )
            if len(sizes) < shape.way:
                raise MamlBenchError(f"a task needs {shape.way} classes, but there are {len(sizes)} {split} classes")
            if len(enough) < shape.way:
                have = "has" if len(enough) == 1 else "have"
                has = f"only {len(enough)} of the {len(sizes)} {split} classes {have} {why}"
                raise MamlBenchError(f"a task needs {shape.way} classes, but {has}")
            if len(enough) < len(sizes):
                small = [part.classes[place] for place in np.flatnonzero(sizes < needed)]
                have = "has" if len(small) == 1 else "have"
                few = f"{len(small)} of the {len(sizes)} {split} classes {have} fewer than {why}"
                warnings.warn(f"{few}; left out: {some(small)}", Notice, stacklevel=3)
            self._large[split, needed] = enough
        return self._large[split, needed]

    @cached_property
    def _parts(self) -> dict[str, Images]:
        return {}

    @cached_property
    def _copies(self) -> dict[tuple[str, str], Tensor]:
        return {}

    @cached_property
    def _large(self) -> dict[tuple[str, int], np.ndarray]:
        return {}


def _identity(name: str) -> dict[str, Any]:
    """Name, version and content hash of a stored data set; of one that this package knows also the class split."""
    manifest = store.manifest(name)
    found: dict[str, Any] = {
        "name": manifest.name, "version": manifest.version, "fingerprint": manifest.fingerprint,
    }  # fmt: skip
    if manifest.name in KNOWN:
        split = splits.load_split(manifest.name, KNOWN[manifest.name][0])
        found |= {"split": split.name, "split_sha256": split.sha256}
    return found
