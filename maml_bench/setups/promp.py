"""Proximal meta-policy search (ProMP). Rothfuss, Lee, Clavera, Asfour & Abbeel (2019), "ProMP: Proximal Meta-Policy
Search", ICLR, arXiv:1810.06784, Algorithm 1. Its recipes set the inner loss (its second derivative has a
low variance), the clipped outer loss, and the number of outer steps on the same rollouts."""

from dataclasses import dataclass
from typing import Any, ClassVar

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.types import Params


@dataclass(frozen=True)
class ProMP(Setup):
    """The inner loop is that of MAML; the outer loop takes several clipped steps on the same rollouts, as PPO does."""

    citation: ClassVar[str] = "Rothfuss et al. 2019, arXiv:1810.06784"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.ACTS, Capability.ACTS_ONLY}
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps)
