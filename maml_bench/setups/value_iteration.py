"""Value iteration with everything known. Mishra et al. (2018), "A Simple Neural Attentive Meta-Learner",
arXiv:1707.03141, Table 4: the ceiling that its table is relative to."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance, Given
from maml_bench.core.setup import Capability
from maml_bench.setups._shared.counting import Planning, backups, tables_of
from maml_bench.types import Params


@dataclass(frozen=True)
class ValueIteration(Planning):
    """Follow the best policy of the task, which the agent is told: the ceiling for all agents that have to learn it."""

    citation: ClassVar[str] = "Mishra et al. 2018, arXiv:1707.03141, Table 4"
    capabilities: ClassVar[frozenset[Capability]] = Planning.capabilities | {Capability.NEEDS_IDENTITY}

    def plan(self, learner: Learner, memory: Params, given: Given, chance: Chance) -> Tensor:
        tables, states = tables_of(learner), memory["pulls"].shape[-2]
        return backups(*tables.tables(given.observation[..., states:]), tables.episode())
