"""Context adaptation via meta-learning. Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson (2019), "Fast Context Adaptation
via Meta-Learning", ICML, arXiv:1810.03642, section 3."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from maml_bench.core.learner import Learner
from maml_bench.setups._shared.context import ContextOnly, is_context
from maml_bench.types import Params


@dataclass(frozen=True)
class CAVIA(ContextOnly):
    """The inner loop moves the network's ``context`` alone, from zero for every task; all else is meta-learned.

    The context has a meta-gradient of exactly zero, so an outer optimiser leaves it where it is.
    """

    citation: ClassVar[str] = "Zintgraf et al. 2019, arXiv:1810.03642"

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        start = {name: torch.zeros_like(p) if is_context(name) else p for name, p in meta.items()}
        return super().adapt(learner, start, support, steps)
