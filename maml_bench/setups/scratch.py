"""Random initialisation. Finn, Abbeel & Levine (2017), arXiv:1703.03400, section 5: a baseline of the MAML paper."""

from dataclasses import dataclass
from typing import Any, ClassVar

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.types import Params


@dataclass(frozen=True)
class Scratch(Setup):
    """An untrained network takes gradient steps on the support at test; there is no meta-training."""

    citation: ClassVar[str] = "Finn et al. 2017, arXiv:1703.03400, section 5"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.ACTS})
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS - {"steps"}

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps)
