"""Joint pretraining. Finn, Abbeel & Levine (2017), arXiv:1703.03400, section 5.1: the baseline of the MAML paper."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_doc import Doc
from torch import Tensor

from maml_bench.core.inner import batch_at
from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.types import Episode, Params


@dataclass(frozen=True)
class Pretrained(Setup):
    """One network is trained on all tasks without an inner loop; at test it takes gradient steps on the support.

    The outer loss is the loss on the support before any adaptation. The released code trains only on the support half
    of each task (maml.py 142), so a step sees half as many points as a step of MAML; ``both_halves`` adds the query. In
    classification every task numbers its classes anew, so joint training can only learn what all labellings share.
    """

    both_halves: Annotated[bool, Doc("Whether a training step uses the query as well as the support.")] = False

    citation: ClassVar[str] = "Finn et al. 2017, arXiv:1703.03400, section 5.1"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.ACTS}
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS - {"steps"}

    def asks_query(self) -> bool:
        return self.both_halves

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps)

    def outer_problem(self, learner: Learner, meta: Params, episode: Episode) -> tuple[Params, Any]:
        return meta, batch_at(episode.support, 0)

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        support = super().loss(learner, meta, episode)
        return (support + learner.batch_loss(meta, episode.query)) / 2 if self.both_halves else support
