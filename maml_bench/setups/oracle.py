"""Oracle. Finn, Abbeel & Levine (2017), arXiv:1703.03400, section 5.1: a network that is told which task it faces."""

from dataclasses import dataclass
from typing import Any, ClassVar

from maml_bench.core.inner import batch_at
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.types import Episode, Params


@dataclass(frozen=True)
class Oracle(Setup):
    """One network is trained on all tasks; its input says which task it faces, so nothing has to be adapted.

    The score is the same at any number of inner steps.
    """

    citation: ClassVar[str] = "Finn et al. 2017, arXiv:1703.03400, section 5.1"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.TRAINS, Capability.ACTS, Capability.NEEDS_IDENTITY}
    )
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return [meta]

    def outer_problem(self, learner: Learner, meta: Params, episode: Episode) -> tuple[Params, Any]:
        return meta, batch_at(episode.support, 0)
