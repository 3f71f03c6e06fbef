"""Context adaptation via meta-learning (CAVIA). Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson (2019), "Fast Context
Adaptation via Meta-Learning", ICML, arXiv:1810.03642, section 3."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from maml_bench.core.learner import Learner
from maml_bench.setups._shared.context import ContextOnly, is_context
from maml_bench.types import Params


@dataclass(frozen=True)
class CAVIA(ContextOnly):
    """The inner loop adapts only a small context vector, which starts at zero; all other parameters are meta-learned.

    The meta-gradient of the context is exactly zero, so the outer optimiser does not change it.
    """

    citation: ClassVar[str] = "Zintgraf et al. 2019, arXiv:1810.03642"

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        start = {name: torch.zeros_like(p) if is_context(name) else p for name, p in meta.items()}
        return super().adapt(learner, start, support, steps)
