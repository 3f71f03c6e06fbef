"""Almost no inner loop (ANIL). Raghu, Raghu, Bengio & Vinyals (2020), "Rapid Learning or Feature Reuse? Towards
Understanding the Effectiveness of MAML", ICLR, arXiv:1909.09157, section 4."""

from dataclasses import dataclass
from typing import Any, ClassVar

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.types import Params


@dataclass(frozen=True)
class ANIL(Setup):
    """MAML's inner loop adapts only the last layer, in training and at test; the other layers are meta-learned."""

    citation: ClassVar[str] = "Raghu et al. 2020, arXiv:1909.09157"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.ACTS}
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps, only=learner.is_head)
