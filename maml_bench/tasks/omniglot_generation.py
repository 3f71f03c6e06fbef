"""Omniglot, one-shot generation: the density of more drawings of a character after a few of them. Rezende, Mohamed,
Danihelka, Gregor & Wierstra (2016), "One-Shot Generalization in Deep Generative Models", ICML, arXiv:1603.05106.

The protocol is that of Bartunov & Vetrov (2018), arXiv:1612.02192, Table 1: 28x28 images, training on Lake's 30
background alphabets, tests on his 20 evaluation alphabets, nats an image after 0, 1, 2, 4 and 9 examples. What their
pixels are is not said there. Here they are grey levels, the share of ink in each area of the 105x105 drawing, from
which black-and-white images are sampled anew in every episode. Five of the 30 alphabets are for validation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from annotated_doc import Doc
from annotated_types import Ge, Le
from torch import Generator, Tensor

from maml_bench.data import splits, store
from maml_bench.data.draws import below, key_of, words_by_draw
from maml_bench.data.episodes import draw_indices
from maml_bench.data.store import Array
from maml_bench.declared import WIDTH, OfNetwork
from maml_bench.errors import MamlBenchError
from maml_bench.models import Autoregressive
from maml_bench.record import Metric
from maml_bench.types import Batch, Episode, Predict, Shape, TaskDistribution

STORED = "omniglot"
SIDE = 28
DRAWN = 6
"""Images that the figure shows after each number of examples."""


@dataclass(frozen=True)
class OmniglotGeneration:
    """Tasks of one character: its drawings are the examples, and a predictor gives the log-density of each in nats.

    The network is an autoregressive density, see models.Autoregressive. Setups with a density of their own take its
    place. An episode may have no support: then the score is that of a density without examples.
    """

    split: Annotated[Literal["lake"], Doc("Class split, see maml_bench/data/class_splits.")] = "lake"
    images: Annotated[
        Literal["area28"], Doc("Grey levels: the share of ink in each of 28x28 areas of the 105x105 drawing.")
    ] = "area28"
    binary: Annotated[
        Literal["sampled"], Doc("How grey becomes black and white: sampled anew for every image of every episode.")
    ] = "sampled"
    filters: Annotated[int, Ge(1), WIDTH, OfNetwork(), Doc("Filters of each causal convolution of the network.")] = 32
    layers: Annotated[int, Ge(0), Le(100), OfNetwork(), Doc("Residual blocks of the network.")] = 4
    context: Annotated[int, Ge(0), WIDTH, OfNetwork(), Doc("Planes of free parameters that all pixels see.")] = 4
    examples: Annotated[
        Literal["random", "all"],
        Doc("How much of its support a training episode shows: a number drawn from none to all, or all."),
    ] = "random"
    normalisation: Annotated[Literal["none"], Doc("The network has no normalisation.")] = "none"

    name: ClassVar[str] = "omniglot_generation"
    version: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("nats", unit="nats", higher_is_better=False)

    def model(self, shape: Shape, generator: Generator) -> Autoregressive:
        """The autoregressive network."""
        return Autoregressive(SIDE, self.filters, self.layers, self.context, generator)

    def sample(self, split: str, first: int, count: int, *, key: int, shape: Shape, device: str = "cpu") -> Episode:
        """x ``[B, K, 1, 28, 28]`` of zeros and ones, and y ``[B, K]``, float32; the query likewise with Q.

        y is the weight of each image: 1, or 0 where ``examples`` hides it.

        Episodes of the same number have the same query for every ``shape.shot``, and the support of a smaller number
        is the start of that of a larger one, so that what examples are worth is compared on the same images.

        Raises:
            MamlBenchError: ``shape.way`` is not 1, there are not so many drawings, or the data are not stored.
        """
        if shape.way != 1:
            raise MamlBenchError(f"way is {shape.way}, but an episode of {self.name} is of one character: choose 1")
        rows = self._rows(split)
        # The query comes first among the draws, so that they are the same whatever the shot.
        turned = shape._replace(shot=shape.query, query=shape.shot)
        stream = key_of(key, self.name, split)
        drawn = draw_indices(len(rows), self._images.shape[1], first, count, key=stream, shape=turned, rotations="none")
        grey = self._images[rows[drawn.row[..., 0]], drawn.example[..., 0]]
        x = torch.from_numpy(_sampled(grey, key_of(stream, "binary"), first)).to(device)
        q, weight = shape.query, torch.ones(x.shape[:2], device=device)
        if self.examples == "random" and split == "train":
            shown = below(words_by_draw(key_of(stream, "shown"), first, count, 1).T, shape.shot + 1)
            weight[:, q:] = torch.from_numpy(np.arange(shape.shot) < shown).to(weight)
        return Episode(Batch(x[:, q:], weight[:, q:]), Batch(x[:, :q], weight[:, :q]))

    def loss(self, predict: Predict, batch: Batch) -> Tensor:
        """Mean negative log-density of the images that count, in nats; 0 where none does, so that an inner step
        without examples changes nothing."""
        return -(batch.y * predict(batch.x)).sum() / batch.y.sum().clamp(min=1)

    score = loss

    def fingerprint(self) -> dict[str, Any]:
        """Name, version and content hash of the stored images and of the class split."""
        manifest, split = store.manifest(STORED), splits.load_split(STORED, self.split)
        return {
            "name": manifest.name,
            "version": manifest.version,
            "fingerprint": manifest.fingerprint,
            "images_sha256": manifest.arrays[self.images].sha256,
            "split": split.name,
            "split_sha256": split.sha256,
        }

    def exhibit(self, answer: Callable[..., dict[int, Tensor]]) -> dict[str, Any]:
        """Images that are drawn after 0, 1, 4 and 9 examples of the first test character, beside these examples.

        ``answer(noise, support, shape, draw=True)`` draws an image from each of ``noise [1, images, 2, 28, 28]``, which
        is uniform in [0, 1].
        """
        noise = words_by_draw(key_of(self.name, "figure"), 0, DRAWN, 2 * SIDE**2).T
        uniform = torch.from_numpy((noise >> 8).astype(np.float32) * 2.0**-24).reshape(1, DRAWN, 2, SIDE, SIDE)
        rows = []
        for shot in (0, 1, 4, 9):
            shape = Shape(1, shot, 1)
            support = self.sample("test", 0, 1, key=0, shape=shape).support
            answers = answer(uniform, support, shape, draw=True)
            rows.append(
                {
                    "shot": shot,
                    "support": _packed(support.x[0]),
                    "drawn": {str(steps): _packed(images) for steps, images in answers.items()},
                }
            )
        return {"kind": "generation", "side": SIDE, "rows": rows}

    @cached_property
    def _images(self) -> Array:
        return store.load(STORED, self.images)

    def _rows(self, split: str) -> np.ndarray:
        """The rows of the stored images that a part of the split is made of."""
        return splits.indices(
            splits.load_split(STORED, self.split), split, store.manifest(STORED).classes_of(self.images)
        )


def _sampled(grey: Array, key: int, first: int) -> npt.NDArray[np.float32]:
    """Zeros and ones: each pixel of ``grey [count, images, ...]`` is 1 with probability pixel / 255.

    The draws of episode ``first + k`` are a pure function of (key, its number), and those of its first images do not
    depend on how many follow. 16 random bits decide a pixel.
    """
    pixels = grey[0].size
    words = words_by_draw(key, first, len(grey), -(-pixels // 2))
    halves = np.ascontiguousarray(words.T).view("<u2")[:, :pixels].reshape(grey.shape)
    return (halves * np.uint32(255) < grey * np.uint32(2**16)).astype(np.float32)


def _packed(images: Tensor) -> list[str]:
    """Each image of zeros and ones as hexadecimal digits, eight pixels in two of them, for a record."""
    return [np.packbits(image.flatten().numpy() > 0.5).tobytes().hex() for image in images.cpu()]


if TYPE_CHECKING:

    def _labelled(tasks: OmniglotGeneration) -> TaskDistribution:
        """The type checker holds that the family is a task distribution."""
        return tasks
