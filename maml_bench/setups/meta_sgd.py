"""Meta-SGD. Li, Zhou, Chen & Li (2017), "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", arXiv:1707.09835,
Algorithm 1: the inner rate is a meta-learned tensor of the parameters' shape."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.inner import SGD
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.declared import LARGE
from maml_bench.errors import MamlBenchError
from maml_bench.types import Params


@dataclass(frozen=True)
class MetaSGD(Setup):
    """Every parameter has its own inner learning rate, which is meta-learned together with the initial parameters.

    A step is theta_i = theta - alpha * grad L_support(theta), elementwise. Each entry of alpha starts at the recipe's
    inner rate times a number drawn from [1 - spread, 1 + spread]. If the recipe has a ``later_rate``, all steps after
    the first use alpha * later_rate / rate.
    """

    spread: Annotated[
        float, Ge(0), LARGE, Doc("Half-width of the distribution of initial rates, as a share of the inner rate.")
    ] = 0.0

    citation: ClassVar[str] = "Li et al. 2017, arXiv:1707.09835"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.ACTS}
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS - {"norm"}

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        if learner.inner.later_rate is not None and not learner.inner.rate:
            raise MamlBenchError(
                "inner.rate is 0, but later steps of meta_sgd take later_rate / rate of what it learns"
            )
        theta = learner.initial()
        alpha = {}
        for name, p in theta.items():
            if learner.moves(name):
                noise = 2 * torch.rand(p.shape, generator=generator) - 1
                alpha[f"rate.{name}"] = (learner.inner.rate * (1 + self.spread * noise)).to(p)
        return theta | alpha

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        alpha = {name.removeprefix("rate."): rate for name, rate in meta.items() if name.startswith("rate.")}
        return learner.adapt(meta, support, _Learned(alpha, learner.inner), steps)


@dataclass(frozen=True)
class _Learned:
    """SGD with learned rates; all steps after the first multiply them by ``inner.later_rate / inner.rate``."""

    rates: Params
    inner: Inner

    def init(self, params: Params) -> None:
        return None

    def __call__(self, step: int | Tensor, params: Params, grads: Params, state: None) -> tuple[Params, None]:
        rates = self.rates
        if step and self.inner.later_rate is not None:
            rates = {name: self.inner.later_rate / self.inner.rate * rate for name, rate in rates.items()}
        return SGD(rates)(step, params, grads, state)
