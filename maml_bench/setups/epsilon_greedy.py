"""Epsilon-greedy actions. Duan et al. (2016), "RL^2", arXiv:1611.02779, section 3."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge, Le
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance
from maml_bench.setups._shared.counting import Estimating
from maml_bench.types import Params


@dataclass(frozen=True)
class EpsilonGreedy(Estimating):
    """As the greedy rule, but with the probability ``epsilon`` an action is drawn uniformly from all."""

    epsilon: Annotated[float, Ge(0), Le(1), Doc("Probability of an action that is drawn from all.")] = 0.01

    citation: ClassVar[str] = "Duan et al. 2016, arXiv:1611.02779, section 3"

    def logits(self, learner: Learner, memory: Params, chance: Chance) -> Tensor:
        best = super().logits(learner, memory, chance).softmax(-1)
        return torch.log((1 - self.epsilon) * best + self.epsilon / best.shape[-1])
