"""Posterior sampling (PSRL). Osband, Russo & Van Roy (2013), "(More) Efficient Reinforcement Learning via Posterior
Sampling", arXiv:1306.0940, after Strens (2000)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance, Given
from maml_bench.setups._shared.counting import Planning, backups, sampled, tables_of
from maml_bench.types import Params


@dataclass(frozen=True)
class PSRL(Planning):
    """At the start of each episode, draw a process from the distribution of those that fit what was seen, and follow
    its best policy for the episode. The prior is the true distribution of the tasks."""

    citation: ClassVar[str] = "Osband et al. 2013, arXiv:1306.0940"
    families: ClassVar[frozenset[str]] = frozenset({"mdp"})

    def plan(self, learner: Learner, memory: Params, given: Given, chance: Chance) -> Tensor:
        return backups(*sampled(learner, memory, chance), tables_of(learner).episode())
