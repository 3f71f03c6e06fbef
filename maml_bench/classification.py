"""The common part of N-way K-shot classification, and of its task distributions on stored images."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_doc import Doc
from torch import Generator, Tensor, nn

from maml_bench.data import splits, store
from maml_bench.data.episodes import Rotations, sample_images
from maml_bench.data.preparation import Preparation
from maml_bench.declared import OfNetwork, When
from maml_bench.errors import MamlBenchError
from maml_bench.models import Conv, Conv4, Normalise
from maml_bench.record import Metric
from maml_bench.resnet import Residual, ResNet12
from maml_bench.types import Batch, Episode, Predict, Shape, TaskDistribution

Normalisation = Annotated[
    Literal["transductive", "group", "none"],
    OfNetwork(),
    Doc("Which statistics the network normalises by: those of the batch, those of groups of channels, or none."),
]
ImageNetwork = Annotated[
    Literal["conv4", "resnet12"],
    OfNetwork(),
    Doc("The network for images: four blocks that `conv` describes, or the residual one that `resnet` describes."),
]
ResidualOptions = Annotated[Residual, OfNetwork(), Doc("The options of `resnet12`."), When("network", ("resnet12",))]
Joint = Annotated[bool, Doc("Whether training examples are labelled by their class among all training classes.")]


class Classification:
    """Base of the task distributions with classes, which are frozen dataclasses with these fields.

    ``normalisation`` says how the network normalises (``transductive``: by the statistics of the batch at hand), and
    ``conv`` describes the network, unless ``network`` names another one. ``joint`` labels training examples by their
    class among all training classes instead of by their place in the task (for setups that train one classifier).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("accuracy")
    normalisation: Normalisation
    conv: Conv
    network: str = "conv4"
    resnet: Residual = Residual()
    joint: Joint

    def normalise(self) -> Normalise:
        """The normalisation layers of the network."""
        return "batch" if self.normalisation == "transductive" else self.normalisation

    def image_network(self, channels: int, size: int, outputs: int, generator: Generator) -> nn.Module:
        """The network that ``network`` names, for square images of ``size`` pixels a side."""
        if self.network == "resnet12":
            normalise = self.normalise()
            return ResNet12(channels, size, outputs, self.resnet, normalise=normalise, generator=generator)
        return Conv4(channels, size, outputs, self.conv, normalise=self.normalise(), generator=generator)

    def loss(self, predict: Predict, batch: Batch) -> Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(predict(batch.x), batch.y)

    def score(self, predict: Predict, batch: Batch) -> Tensor:
        """The fraction of examples that are classified correctly; nan where a largest output is not finite."""
        largest, found = predict(batch.x).max(-1)
        return torch.where(largest.isfinite().all(), (found == batch.y).float().mean(), torch.nan)


class ImageClassification(Classification, ABC):
    """Classification of images, wherever they are kept: what its subclasses say is which images each part has."""

    in_order: ClassVar[bool] = False
    """Whether a task is one sequence, of which each example is predicted from those before it (see types.Stream)."""
    rotations: Rotations = "none"

    @abstractmethod
    def _images_of(self, split: str, device: str) -> Tensor:
        """The images that a part of the split is drawn from, as `data.episodes.sample_images` takes them."""

    @abstractmethod
    def _rows(self, split: str) -> np.ndarray:
        """The classes of a part of the split, by their place in these images."""

    def _sizes(self, split: str) -> tuple[int, ...] | None:
        """The number of images of every class in these images; None where all have as many."""
        return None

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What names the images and their split, for the record."""

    @property
    def preparation(self) -> Preparation | None:
        """How the pictures were prepared, so that others can be prepared alike; None if not as `Preparation` can."""
        return None

    def _enough(self, split: str, shape: Shape) -> np.ndarray:
        """Those of `_rows` that have enough images for ``shape``."""
        return self._rows(split)

    def model(self, shape: Shape, generator: Generator) -> nn.Module:
        """The network for images of this data set and ``outputs(shape)`` classes."""
        channels, size, _ = self._images_of("train", "cpu").shape[-3:]
        return self.image_network(channels, size, self.outputs(shape), generator)

    def outputs(self, shape: Shape) -> int:
        """Number of classes that the network predicts: those of a task, or with ``joint`` all training classes."""
        if not self.joint:
            return shape.way
        return len(self._enough("train", shape)) * (4 if self.rotations == "extra classes" else 1)

    def sample(
        self,
        split: str,
        first: int,
        count: int,
        *,
        key: int,
        shape: Shape,
        device: str = "cpu",
    ) -> Episode:
        """x ``[B, N * K, C, H, W]`` float32 in [0, 1] and labels ``[B, N * K]``; the query likewise with Q.

        Raises:
            MamlBenchError: ``shape`` asks for more classes or images than there are, or the data are not stored.
        """
        return self._of_rows(self._enough(split, shape), split, first, count, key, shape, device)

    def _of_rows(
        self, rows: np.ndarray, split: str, first: int, count: int, key: int, shape: Shape, device: str
    ) -> Episode:
        """Episodes whose classes are some of ``rows``; see `sample`."""
        episode = sample_images(
            self._images_of(split, device), rows, first, count, key=key, stream=(self.name, split), shape=shape,
            sizes=self._sizes(split), rotations=self.rotations, joint=self.joint and split == "train", device=device,
        )  # fmt: skip
        return Episode(*(Batch(self.scaled(batch.x), batch.y) for batch in episode))

    def scaled(self, x: Tensor) -> Tensor:
        """Pixels ``[B, examples, C, H, W]`` in [0, 1] as the network sees them."""
        return x


class StoredImages(ImageClassification):
    """Classification of images in the store (data.store), by the class split that ``split`` names."""

    stored: ClassVar[str]
    """The name of the data set in the store."""
    split: str

    @abstractmethod
    def array(self, split: str) -> str:
        """Name of the stored array that holds the images of a part of the split."""

    def fingerprint(self) -> dict[str, Any]:
        """Name, version and content hash of the stored images and of the class split."""
        manifest = store.manifest(self.stored)
        split = splits.load_split(self.stored, self.split)
        return {
            "name": manifest.name,
            "version": manifest.version,
            "fingerprint": manifest.fingerprint,
            "split": split.name,
            "split_sha256": split.sha256,
        }

    @cached_property
    def _copies(self) -> dict[tuple[str, str], Tensor]:
        return {}

    def _images_of(self, split: str, device: str) -> Tensor:
        return self._images_on(self.array(split), device)

    def _images_on(self, array: str, device: str) -> Tensor:
        """A stored array, copied to each device once; on the CPU it stays the memory map."""
        if (array, device) not in self._copies:
            self._copies[array, device] = torch.from_numpy(store.load(self.stored, array)).to(device)
        return self._copies[array, device]

    def _rows(self, split: str) -> np.ndarray:
        """Rows of ``array(split)`` that a part of the split is made of."""
        if split not in self._classes:
            raise MamlBenchError(f"{self.name} has no split {split!r} (known: {', '.join(self._classes)})")
        return self._classes[split]

    @cached_property
    def _classes(self) -> dict[str, np.ndarray]:
        """Rows of ``array(part)`` that each part of the split is made of."""
        split = splits.load_split(self.stored, self.split)
        manifest = store.manifest(self.stored)
        return {part: splits.indices(split, part, manifest.classes_of(self.array(part))) for part in split.parts}


if TYPE_CHECKING:

    def _labelled(tasks: ImageClassification) -> TaskDistribution:
        """The type checker holds that these families are task distributions."""
        return tasks
