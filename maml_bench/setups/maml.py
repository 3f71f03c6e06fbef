"""Model-agnostic meta-learning (MAML). Finn, Abbeel & Levine (2017), "Model-Agnostic Meta-Learning for Fast Adaptation
of Deep Networks", ICML, arXiv:1703.03400, Algorithms 1 and 2."""

from dataclasses import dataclass
from typing import Any, ClassVar

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.types import Params


@dataclass(frozen=True)
class MAML(Setup):
    """Take gradient steps on the support from a meta-learned initialisation; differentiate the query loss through them.

    A step is theta_i = theta - alpha * grad L_support(theta).
    """

    citation: ClassVar[str] = "Finn et al. 2017, arXiv:1703.03400"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.ACTS}
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps)
