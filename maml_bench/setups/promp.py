"""Proximal meta-policy search. Rothfuss, Lee, Clavera, Asfour & Abbeel (2019), "ProMP: Proximal Meta-Policy Search",
ICLR, arXiv:1810.06784, Algorithm 1: the inner loss whose curvature is right step by step, and a clipped outer loss, on
which several steps are taken before new rollouts. Both losses and the number of steps stand in its recipes."""

from dataclasses import dataclass
from typing import Any, ClassVar

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.types import Params


@dataclass(frozen=True)
class ProMP(Setup):
    """As MAML, gradient steps on the support that the meta-gradient goes through."""

    citation: ClassVar[str] = "Rothfuss et al. 2019, arXiv:1810.06784"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.ACTS, Capability.ACTS_ONLY}
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps)
