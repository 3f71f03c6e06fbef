"""Bayesian exploration bonus (BEB). Kolter & Ng (2009), "Near-Bayesian exploration in polynomial time",
doi:10.1145/1553374.1553441."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance, Given
from maml_bench.declared import LARGE
from maml_bench.setups._shared.counting import Planning, backups, mean_leads, mean_rewards, tables_of
from maml_bench.types import Params


@dataclass(frozen=True)
class BEB(Planning):
    """Plan in the mean process under the prior, with ``bonus`` / (1 + n) added to the reward of each action that was
    taken n times in a state. The plan is made anew in each episode."""

    bonus: Annotated[
        float, Ge(0), LARGE, Doc("What an action that was never taken is worth beside its mean reward.")
    ] = 1.0

    citation: ClassVar[str] = "Kolter & Ng 2009, doi:10.1145/1553374.1553441"
    families: ClassVar[frozenset[str]] = frozenset({"mdp"})

    def plan(self, learner: Learner, memory: Params, given: Given, chance: Chance) -> Tensor:
        rewards = mean_rewards(learner, memory) + self.bonus / (1 + memory["pulls"])
        return backups(rewards, mean_leads(memory), tables_of(learner).episode())
