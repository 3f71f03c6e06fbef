"""Meta-SGD. Li, Zhou, Chen & Li (2017), "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", arXiv:1707.09835,
Algorithm 1: the inner rate is a meta-learned tensor of the parameters' shape."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from maml_bench.core.inner import SGD
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Setup
from maml_bench.types import Params


@dataclass(frozen=True)
class MetaSGD(Setup):
    """theta_i = theta - alpha * grad L_support(theta), elementwise, with alpha learned beside theta.

    alpha starts at the recipe's inner rate times a number drawn from [1 - spread, 1 + spread] for each entry.
    """

    spread: float = 0.0

    citation: ClassVar[str] = "Li et al. 2017, arXiv:1707.09835"
    acts: ClassVar[bool] = True

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        theta = learner.initial()
        alpha = {}
        for name, p in theta.items():
            if learner.moves(name):
                noise = 2 * torch.rand(p.shape, generator=generator) - 1
                alpha[f"rate.{name}"] = (learner.inner.rate * (1 + self.spread * noise)).to(p)
        return theta | alpha

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        alpha = {name.removeprefix("rate."): rate for name, rate in meta.items() if name.startswith("rate.")}
        return learner.adapt(meta, support, SGD(alpha), steps)
