"""Greedy actions. Duan et al. (2016), "RL^2", arXiv:1611.02779, section 3: a baseline without exploration."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_doc import Doc
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance, Given
from maml_bench.setups._shared.counting import NEVER, Planning, backups, likely_leads, mean_rewards, tables_of
from maml_bench.types import Params


@dataclass(frozen=True)
class Greedy(Planning):
    """Take the actions that are best if the task is as it is estimated to be.

    The mean reward of an arm is (1 + wins) / (2 + pulls), which is the mean under a Beta(1, 1) prior. For processes the
    estimate is the most likely one under the prior of random processes, and it changes once in an episode.

    Arms are often equally good, and then it matters which is taken: random ones explore more. The published values are
    those of the first one.
    """

    ties: Annotated[Literal["first", "random"], Doc("Which of equally good actions is taken.")] = "first"

    citation: ClassVar[str] = "Duan et al. 2016, arXiv:1611.02779, section 3"

    def plan(self, learner: Learner, memory: Params, given: Given, chance: Chance) -> Tensor:
        return backups(mean_rewards(learner, memory), likely_leads(memory), tables_of(learner).episode())

    def logits(self, learner: Learner, memory: Params, chance: Chance) -> Tensor:
        best = super().logits(learner, memory, chance)
        if self.ties == "random":
            return best
        return torch.where(
            torch.arange(best.shape[-1], device=best.device) == best.argmax(-1, keepdim=True), best, NEVER
        )
