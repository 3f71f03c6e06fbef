"""Body only update in the inner loop (BOIL). Oh, Yoo, Kim & Yun (2021), "BOIL: Towards Representation Change for
Few-shot Learning", ICLR, arXiv:2008.08882, section 3."""

from dataclasses import dataclass
from typing import Any, ClassVar

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Setup
from maml_bench.types import Params


@dataclass(frozen=True)
class BOIL(Setup):
    """MAML's inner loop adapts every layer except the last one, in training and at test: the opposite of ANIL."""

    citation: ClassVar[str] = "Oh et al. 2021, arXiv:2008.08882"
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        rule = learner.inner.rule()
        return learner.adapt(meta, support, rule, steps, only=lambda name: not learner.is_head(name))
