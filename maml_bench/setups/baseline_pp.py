"""Baseline++. Chen, Liu, Kira, Wang & Huang (2019), "A Closer Look at Few-shot Classification", ICLR, arXiv:1904.04232,
section 3.2: Baseline with a last layer of cosines, in training and at test."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Gt
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.setups._shared.classifier import FrozenFeatures
from maml_bench.types import Episode, Params


@dataclass(frozen=True)
class BaselinePP(FrozenFeatures):
    """A logit is scale * length * cosine(features, direction), with a direction and a length learned for each class.

    ``scale`` is fixed, ``base_scale`` its value in training (2 at most 200 classes and 10 above, `distLinear` in
    backbone.py of wyharveychen/CloserLookFewShot). Layers start as there, with rows as torch draws those of a linear
    layer; what every new layer starts from is drawn once and kept beside the network, never trained.
    """

    scale: Annotated[float, Gt(0), Doc("Scale of the cosines at test.")] = 2.0
    base_scale: Annotated[float, Gt(0), Doc("Scale of the cosines in training.")] = 2.0

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
    """scale * length * cosine ``[examples, classes]`` of features ``z [examples, features]`` and each direction."""
    return scale * layer["length"] * (F.normalize(z, dim=1) @ F.normalize(layer["direction"], dim=1).T)


def _layer(meta: Params, name: str) -> Params:
    return {key: meta[f"{name}.{key}"] for key in ("direction", "length")}
