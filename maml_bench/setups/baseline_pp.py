"""Baseline++. Chen, Liu, Kira, Wang & Huang (2019), "A Closer Look at Few-shot Classification", ICLR, arXiv:1904.04232,
section 3.2: Baseline whose last layer computes cosines, in training and at test."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Gt
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.declared import LARGE
from maml_bench.setups._shared.classifier import FrozenFeatures
from maml_bench.types import Episode, Params


@dataclass(frozen=True)
class BaselinePP(FrozenFeatures):
    """Like Baseline, but the logit of a class is the scaled cosine between the features and a learned direction.

    A logit is scale * length * cosine(features, direction); each class learns a direction and a length. The scale is
    fixed: ``scale`` at test and ``base_scale`` in training. The released code uses 2 for up to 200 classes and 10 for
    more (`distLinear` in backbone.py of wyharveychen/CloserLookFewShot). As there, a layer starts from the rows that
    torch draws for a linear layer. The start of the new layer is drawn once, kept beside the network and never trained.
    """

    scale: Annotated[float, Gt(0), LARGE, Doc("Scale of the cosines at test.")] = 2.0
    base_scale: Annotated[float, Gt(0), LARGE, Doc("Scale of the cosines in training.")] = 2.0

    citation: ClassVar[str] = "Chen et al. 2019, arXiv:1904.04232"

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        theta = learner.initial()
        rows, features = theta[f"{learner.head}.weight"].shape
        uniform = 2 * torch.rand(rows + learner.way, features, generator=generator) - 1
        directions = (uniform / features**0.5).to(theta[f"{learner.head}.weight"])
        for layer, part in (("base", directions[:rows]), ("new", directions[rows:])):
            theta |= {f"{layer}.direction": part, f"{layer}.length": part.norm(dim=1)}
        return theta

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        base = _layer(meta, "base")
        return learner.loss(lambda x: cosines(base, learner.embed(meta, x), self.base_scale), episode.support)

    def start(self, learner: Learner, meta: Params) -> Params:
        return {name: p[: learner.way] for name, p in _layer(meta, "new").items()}

    def answer(self, learner: Learner, layer: Params, z: Tensor) -> Tensor:
        return cosines(layer, z, self.scale)


def cosines(layer: Params, z: Tensor, scale: float) -> Tensor:
    """scale * length * cosine ``[examples, classes]`` of features ``z [examples, features]`` with each direction."""
    return scale * layer["length"] * (F.normalize(z, dim=1) @ F.normalize(layer["direction"], dim=1).T)


def _layer(meta: Params, name: str) -> Params:
    return {key: meta[f"{name}.{key}"] for key in ("direction", "length")}
