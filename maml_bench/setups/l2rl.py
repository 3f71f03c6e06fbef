"""Deep meta-reinforcement learning (L2RL). Wang, Kurth-Nelson, Tirumala, Soyer, Leibo, Munos, Blundell, Kumaran &
Botvinick (2016), "Learning to reinforcement learn", arXiv:1611.05763, section 2 and appendix."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge
from torch import Generator, Tensor

from maml_bench.core.learner import Learner
from maml_bench.declared import LARGE, WIDTH
from maml_bench.setups._shared.actor_critic import ActorCritic
from maml_bench.setups._shared.lstm import lstm, lstm_step
from maml_bench.types import Params

CLOCK = 100
"""Steps that the time index is divided by."""


@dataclass(frozen=True)
class L2RL(ActorCritic):
    """An LSTM acts through whole trials and is trained as an advantage actor-critic, one step on each batch of trials.

    Beside its last action and reward it is given a clock: the steps since the trial began, divided by 100. Advantages
    are standardised here, which the paper does not do.
    """

    units: Annotated[int, Ge(1), WIDTH, Doc("Units of the LSTM.")] = 48
    value: Annotated[float, Ge(0), LARGE, Doc("Factor of half the squared error of the values in the loss.")] = 0.05
    entropy: Annotated[float, Ge(0), LARGE, Doc("Factor of the entropy of the actions, which the loss rewards.")] = 0.05

    citation: ClassVar[str] = "Wang et al. 2016, arXiv:1611.05763"
    prefix: ClassVar[str] = "l2rl"

    def memory(self, inputs: int, generator: Generator) -> tuple[Params, int]:
        found = lstm("lstm", inputs + 1, self.units, self.units, generator)
        return found, self.units

    def start(self, learner: Learner, meta: Params, trials: tuple[int, ...]) -> Params:
        zero = meta["l2rl.lstm.bias"].new_zeros
        return {"hidden": zero(*trials, self.units), "cell": zero(*trials, self.units), "clock": zero(*trials, 1)}

    def read(self, meta: Params, x: Tensor, memory: Params) -> tuple[Tensor, Params]:
        hidden, cell, states = memory["hidden"], memory["cell"], []
        clock = memory["clock"] + torch.arange(x.shape[-2], device=x.device)
        seen = torch.cat([x, clock.unsqueeze(-1) / CLOCK], -1)
        for drive in F.linear(seen, meta["l2rl.lstm.input"], meta["l2rl.lstm.bias"]).unbind(-2):
            hidden, cell = lstm_step(drive, hidden, cell, meta["l2rl.lstm.hidden"])
            states.append(hidden)
        return torch.stack(states, -2), {"hidden": hidden, "cell": cell, "clock": memory["clock"] + x.shape[-2]}
