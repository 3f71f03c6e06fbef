"""Baseline. Chen, Liu, Kira, Wang & Huang (2019), "A Closer Look at Few-shot Classification", ICLR, arXiv:1904.04232,
section 3.2."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.setups._shared.classifier import FrozenFeatures, new_head
from maml_bench.types import Params


@dataclass(frozen=True)
class Baseline(FrozenFeatures):
    """Train one classifier of all training classes; at test, freeze its features and train a new last layer.

    The new layer is linear and starts at zero; the released code starts it at random (baselinefinetune.py of
    wyharveychen/CloserLookFewShot) and shuffles the support before each pass.
    """

    citation: ClassVar[str] = "Chen et al. 2019, arXiv:1904.04232"

    def start(self, learner: Learner, meta: Params) -> Params:
        return new_head(learner, meta)

    def answer(self, learner: Learner, layer: Params, z: Tensor) -> Tensor:
        return F.linear(z, layer[f"{learner.head}.weight"], layer.get(f"{learner.head}.bias"))
