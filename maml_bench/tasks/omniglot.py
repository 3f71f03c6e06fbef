"""Omniglot, N-way K-shot classification of handwritten characters. Lake, Salakhutdinov & Tenenbaum (2015), Science 350.

Defaults are those of the released MAML code (data_generator.py of cbfinn/maml): binary 28x28 images with ink = 1, one
rotation by a multiple of 90 degrees per class and task in every split, examples laid out in rounds of all classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from maml_bench.data import splits, store
from maml_bench.data.episodes import sample_images
from maml_bench.errors import MamlBenchError
from maml_bench.models import MLP, Conv4
from maml_bench.record import Metric
from maml_bench.types import Batch, Episode, Predict, Shape


@dataclass(frozen=True)
class Omniglot:
    """p(T) over N characters of one part of a class split.

    ``images``: binary28 (nearest neighbour, as the MAML code in effect reads them) or grey28 (torchmeta's, bilinear).
    ``rotations``: ``per class`` draws one of four for each class of a task; ``extra classes`` makes four classes of
    each character (torchmeta, prototypical networks); ``none``. ``network``: conv4 (64 filters, stride 2) or mlp, the
    paper's network without convolutions.
    """

    split: Literal["finn", "vinyals"] = "finn"
    images: Literal["binary28", "grey28"] = "binary28"
    rotations: Literal["per class", "extra classes", "none"] = "per class"
    network: Literal["conv4", "mlp"] = "conv4"
    normalisation: Literal["transductive", "none"] = "transductive"

    name: ClassVar[str] = "omniglot"
    version: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("accuracy")

    def model(self, shape: Shape, generator: Generator) -> nn.Module:
        """The paper's network for ``shape.way`` classes."""
        normalise = self.normalisation != "none"
        if self.network == "mlp":
            return MLP([784, 256, 128, 64, 64, shape.way], normalise=normalise, generator=generator)
        return Conv4(1, 28, shape.way, filters=64, downsample="stride", normalise=normalise, generator=generator)

    def sample(
        self,
        split: str,
        first: int,
        count: int,
        *,
        key: int,
        shape: Shape,
        adapt: Callable[[Any], Any] | None = None,
        device: str = "cpu",
    ) -> Episode:
        """x ``[B, N * K, 1, 28, 28]`` float32 in [0, 1] and labels ``[B, N * K]``; the query likewise with Q.

        Raises:
            MamlBenchError: ``shape`` asks for more classes or drawings than there are, or Omniglot is not stored.
        """
        if split not in self._classes:
            raise MamlBenchError(f"omniglot has no split {split!r} (known: {', '.join(self._classes)})")
        return sample_images(
            self._images_on(device), self._classes[split], first, count, key=key, stream=(self.name, split),
            shape=shape, rotations=self.rotations, device=device,
        )  # fmt: skip

    def loss(self, predict: Predict, batch: Batch) -> Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(predict(batch.x), batch.y)

    def score(self, predict: Predict, batch: Batch) -> Tensor:
        """Share of examples classified right."""
        return (predict(batch.x).argmax(-1) == batch.y).float().mean()

    def fingerprint(self) -> dict[str, Any]:
        """Name, version and content hash of the stored images and of the class split."""
        manifest = store.manifest(self.name)
        split = splits.load_split(self.name, self.split)
        return {
            "name": manifest.name,
            "version": manifest.version,
            "fingerprint": manifest.fingerprint,
            "split": split.name,
            "split_sha256": split.sha256,
        }

    @cached_property
    def _copies(self) -> dict[str, Tensor]:
        return {}

    def _images_on(self, device: str) -> Tensor:
        """The stored array, copied to each device once; on the CPU it stays the memory map."""
        if device not in self._copies:
            self._copies[device] = torch.from_numpy(store.load(self.name, self.images)).to(device)
        return self._copies[device]

    @cached_property
    def _classes(self) -> dict[str, np.ndarray]:
        classes = store.manifest(self.name).classes
        split = splits.load_split(self.name, self.split)
        return {part: splits.indices(split, part, classes) for part in split.parts}
