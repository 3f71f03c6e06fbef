"""A family of classes that needs no data, on which a setup of the user's is checked: patterns of noise on small images.

Its scores mean nothing. A class is a pattern of random pixels, and its examples are the pattern with more noise.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from torch import Generator, nn

from maml_bench.checked import later
from maml_bench.classification import Classification, Joint, Normalisation
from maml_bench.data.draws import key_of, uniform, words
from maml_bench.declared import OfNetwork
from maml_bench.models import Conv, Conv4
from maml_bench.types import Batch, Episode, Shape

SIZE = 8
CLASSES = 20
"""Classes of the training split, for setups that train one classifier for all of them."""


@dataclass(frozen=True)
class Blobs(Classification):
    """Tasks of N random patterns. With ``joint``, training tasks draw from 20 classes, whose numbers are the labels."""

    normalisation: Normalisation = "none"
    joint: Joint = False
    conv: Annotated[Conv, OfNetwork(), Doc("The options of the network.")] = later(Conv(4))

    name: ClassVar[str] = "blobs"

    def model(self, shape: Shape, generator: Generator) -> nn.Module:
        """Four blocks of four filters."""
        way = CLASSES if self.joint else shape.way
        return Conv4(1, SIZE, way, self.conv, normalise=self.normalise(), generator=generator)

    def sample(self, split: str, first: int, count: int, *, key: int, shape: Shape, device: str = "cpu") -> Episode:
        """x ``[B, N * K, 1, 8, 8]`` and labels ``[B, N * K]``; the query likewise with Q."""
        way, each, pixels = shape.way, shape.shot + shape.query, SIZE * SIZE
        joint = self.joint and split == "train"
        stream = words(key_of(key, self.name, split), first, count, way * (1 + each * pixels), "cpu")
        chosen = torch.argsort(words(key_of(key, split), first, count, CLASSES, "cpu"), dim=1)[:, :way]
        patterns = uniform(words(key_of(self.name, split, "patterns"), 0, CLASSES, pixels, "cpu"), 0.0, 1.0)
        noise = uniform(stream[:, way:], 0.0, 0.5).reshape(count, each, way, pixels)
        x = (patterns[chosen].unsqueeze(1) + noise).float().reshape(count, each, way, 1, SIZE, SIZE).to(device)
        labels = chosen if joint else torch.arange(way).expand(count, way)
        y = labels.unsqueeze(1).expand(count, each, way).to(device)
        sides = (slice(0, shape.shot), slice(shape.shot, each))
        return Episode(*(Batch(x[:, s].flatten(1, 2), y[:, s].flatten(1, 2)) for s in sides))

    def fingerprint(self) -> None:
        """None, because tasks are drawn."""
