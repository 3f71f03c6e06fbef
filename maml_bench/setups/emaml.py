"""E-MAML. Stadie, Yang, Houthooft, Chen, Duan, Wu, Abbeel & Sutskever (2018), "Some Considerations on Learning to
Explore via Meta-Reinforcement Learning", NeurIPS, arXiv:1803.01118, equation 4: the return after adaptation is also
credited to the actions in the support."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.types import Episode, Params


@dataclass(frozen=True)
class EMAML(Setup):
    """MAML's outer loss gets another term, which rewards support actions that lead to high returns after adaptation.

    The term is the ``credit`` of the tasks: the log-probability of the whole support times the mean return of the
    query. No baseline is subtracted, because it would have to be independent of the support.
    """

    citation: ClassVar[str] = "Stadie et al. 2018, arXiv:1803.01118"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.ACTS, Capability.ACTS_ONLY}
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps)

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        states = self.adapt(learner, meta, episode.support, learner.inner.steps)
        loss = learner.outer_loss(lambda x: learner.apply(states[-1], x), episode.query)
        for state, batch in zip(states, episode.support, strict=False):
            loss = loss - learner.acting.credit(partial(learner.apply, state), batch, episode.query)
        return loss
