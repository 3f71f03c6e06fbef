"""Random actions. Duan et al. (2016), "RL^2", arXiv:1611.02779, section 3: the floor of its tables."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance
from maml_bench.setups._shared.counting import Counting
from maml_bench.types import Params


@dataclass(frozen=True)
class RandomActions(Counting):
    """Draw every action uniformly from all."""

    citation: ClassVar[str] = "Duan et al. 2016, arXiv:1611.02779, section 3"

    def logits(self, learner: Learner, memory: Params, chance: Chance) -> Tensor:
        return torch.zeros_like(memory["pulls"][..., 0, :])
