"""Ridge regression as the last layer (R2-D2). Bertinetto, Henriques, Torr & Vedaldi (2019), "Meta-learning with
Differentiable Closed-form Solvers", ICLR, arXiv:1805.08136, section 3.3, equations 4 to 6."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Gt
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.linear_systems import solve
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import LARGE
from maml_bench.setups._shared.class_statistics import one_hot
from maml_bench.setups._shared.own_parameters import beside
from maml_bench.types import Params


@dataclass(frozen=True)
class R2D2(Setup):
    """Ridge regression fits the last layer to the support in closed form; the network is meta-learned through it.

    W = X' (X X' + lambda I)^-1 Y for support embeddings X and one-hot labels Y; logits are alpha X W + beta. By
    Woodbury's identity the system has N * K equations, however wide the embedding is. lambda (by its logarithm), alpha
    and beta are meta-learned; they start at ``ridge``, ``scale`` and 0. beta shifts all logits equally, so it does not
    change the cross-entropy. As in the released code (r2d2.py of bertinetto/r2d2), each embedding ends with a one for
    the bias.
    """

    ridge: Annotated[float, Gt(0), LARGE, Doc("Initial value of lambda, the strength of the ridge.")] = 50.0
    scale: Annotated[float, Gt(0), LARGE, Doc("Initial value of alpha, the scale of the logits.")] = 1.0

    citation: ClassVar[str] = "Bertinetto et al. 2019, arXiv:1805.08136"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.CLASSIFIES}
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        start = {"log_lambda": math.log(self.ridge), "alpha": self.scale, "beta": 0.0}
        return beside(learner.initial(), "r2d2", {name: torch.tensor([value]) for name, value in start.items()})

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        x = _embedded(learner, meta, support.x)
        y = one_hot(support.y, learner.way, x)
        small = meta["r2d2.log_lambda"].exp() * torch.eye(len(x), dtype=x.dtype, device=x.device)
        return [{"weight": x.mT @ solve(x @ x.mT + small, y)}]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        return meta["r2d2.alpha"] * (_embedded(learner, meta, x) @ state["weight"]) + meta["r2d2.beta"]


def _embedded(learner: Learner, meta: Params, x: Tensor) -> Tensor:
    """Embeddings ``[examples, features + 1]`` that end with a one."""
    return F.pad(learner.embed(meta, x), (0, 1), value=1.0)
