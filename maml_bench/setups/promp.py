"""Proximal meta-policy search (ProMP). Rothfuss, Lee, Clavera, Asfour & Abbeel (2019), "ProMP: Proximal Meta-Policy
Search", ICLR, arXiv:1810.06784, Algorithm 1. Its recipes set the inner loss (its second derivative has a low variance)
and the number of outer steps on the same rollouts."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

from annotated_doc import Doc
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.declared import LARGE
from maml_bench.types import Episode, Params


@dataclass(frozen=True)
class ProMP(Setup):
    """The inner loop is that of MAML; the outer loop takes several clipped steps on the same rollouts, as PPO does.

    A penalty is added to the outer loss. It is the mean over inner steps of KL(who acted || who would act now) on the
    support, times ``penalty``. Both defaults are those of the released script (clip_eps and init_inner_kl_penalty in
    run_scripts/pro-mp_run_mujoco.py of jonasrothfuss/ProMP), which keeps the penalty fixed.
    """

    clip: Annotated[float, Gt(0), Lt(1), Doc("The outer ratio gains nothing beyond 1 - clip and 1 + clip.")] = 0.3
    penalty: Annotated[float, Ge(0), LARGE, Doc("Factor of the divergence between policies on the support.")] = 5e-4

    citation: ClassVar[str] = "Rothfuss et al. 2019, arXiv:1810.06784"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {
        Capability.ACTS,
        Capability.ACTS_ONLY,
        Capability.OWN_OUTER_LOSS,
    }
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps)

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        acting = learner.acting
        states = self.adapt(learner, meta, episode.support, learner.inner.steps)
        loss = acting.clipped(partial(learner.apply, states[-1]), episode.query, self.clip)
        if self.penalty:
            pairs = list(zip(states, episode.support, strict=False))
            moved = [acting.divergence(acting.answers(partial(learner.apply, s), b), b) for s, b in pairs]
            loss = loss + self.penalty * sum(moved) / len(moved)
        return loss
