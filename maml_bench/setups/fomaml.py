"""First-order MAML (FOMAML). Finn, Abbeel & Levine (2017), arXiv:1703.03400, section 5.2."""

from dataclasses import dataclass
from typing import Any, ClassVar

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.types import Params


@dataclass(frozen=True)
class FOMAML(Setup):
    """MAML without second derivatives: its meta-gradient is the gradient of the query loss at the adapted weights."""

    citation: ClassVar[str] = "Finn et al. 2017, arXiv:1703.03400, section 5.2"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.ACTS}
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps, first_order=True)
