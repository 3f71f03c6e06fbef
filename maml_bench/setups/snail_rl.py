"""SNAIL as an agent. Mishra, Rohaninejad, Chen & Abbeel (2018), "A Simple Neural Attentive Meta-Learner", ICLR,
arXiv:1707.03141, section 4.2 and appendix C."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge, Gt, Lt
from torch import Generator, Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability
from maml_bench.declared import AT_ONCE, WIDTH
from maml_bench.setups._shared.actor_critic import ActorCritic
from maml_bench.setups._shared.own_parameters import uniform
from maml_bench.setups._shared.snail_blocks import Attention, Block, init, read, start, temporal
from maml_bench.types import Params, Predict


@dataclass(frozen=True)
class SnailRL(ActorCritic):
    """Temporal convolutions and attention read all steps of a trial so far, and answer the present one.

    A linear layer of ``filters`` outputs is followed by two stacks of convolutions and by attention. The memory holds
    ``steps`` steps, which must be at least those of a trial. The paper trains by a trust region, and here the loss is
    PPO's clipped one, as for RL^2.
    """

    steps: Annotated[int, Ge(2), AT_ONCE, Doc("Steps that the memory holds: at least those of a trial.")] = 100
    filters: Annotated[int, Ge(1), WIDTH, Doc("Outputs of the first layer and of each convolution.")] = 32
    keys: Annotated[int, Ge(1), WIDTH, Doc("Width of the keys of the attention.")] = 32
    values: Annotated[int, Ge(1), WIDTH, Doc("Width of what the attention reads.")] = 32
    clip: Annotated[float, Gt(0), Lt(1), Doc("The likelihood ratio gains nothing beyond 1 - clip and 1 + clip.")] = 0.1

    citation: ClassVar[str] = "Mishra et al. 2018, arXiv:1707.03141"
    capabilities: ClassVar[frozenset[Capability]] = ActorCritic.capabilities | {Capability.OWN_OUTER_LOSS}
    prefix: ClassVar[str] = "snail"

    def longest(self) -> int | None:
        return self.steps

    def memory(self, inputs: int, generator: Generator) -> tuple[Params, int]:
        first = {
            "first.weight": uniform(self.filters, inputs, generator=generator),
            "first.bias": torch.zeros(self.filters),
        }
        blocks, features = init(self._blocks(), "block", self.filters, generator)
        return first | blocks, features

    def start(self, learner: Learner, meta: Params, trials: tuple[int, ...]) -> Params:
        past = start(self._blocks(), "snail.block", self.filters, meta["snail.first.bias"], keep=self.steps)
        return {name: p.expand(*trials, *p.shape) for name, p in past.items()}

    def read(self, meta: Params, x: Tensor, memory: Params) -> tuple[Tensor, Params]:
        first = F.linear(x, meta["snail.first.weight"], meta["snail.first.bias"])
        return read(self._blocks(), meta, "snail.block", first, memory)

    def read_whole(self, learner: Learner, meta: Params, x: Tensor) -> Tensor:
        return self.read(meta, x, start(self._blocks(), "snail.block", self.filters, meta["snail.first.bias"]))[0]

    def policy_loss(self, learner: Learner, predict: Predict, batch: Any) -> Tensor:
        return learner.acting.clipped(predict, batch, self.clip)

    def _blocks(self) -> list[Block]:
        convolutions = temporal(self.steps, self.filters)
        return [*convolutions, *convolutions, Attention(self.keys, self.values)]
