"""RL^2. Duan, Schulman, Chen, Bartlett, Sutskever & Abbeel (2016), "RL^2: Fast Reinforcement Learning via Slow
Reinforcement Learning", arXiv:1611.02779, sections 2.2 and 2.3."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge, Gt, Lt
from torch import Generator, Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability
from maml_bench.declared import WIDTH
from maml_bench.setups._shared.actor_critic import ActorCritic
from maml_bench.setups._shared.gru import gru, gru_step
from maml_bench.types import Params, Predict

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}


@dataclass(frozen=True)
class RL2(ActorCritic):
    """A GRU acts through whole trials: its state lives through the episodes of a task, and is what it learns of it.

    It is trained by the clipped loss of PPO on whole trials, as in the released code; the paper has a trust region.
    Here one GRU gives policy and values, where the released code has one for each, and its weights are not normalised.
    """

    units: Annotated[int, Ge(1), WIDTH, Doc("Units of the GRU.")] = 256
    candidate: Annotated[Literal["relu", "tanh"], Doc("Activation of the GRU's candidate state.")] = "relu"
    clip: Annotated[float, Gt(0), Lt(1), Doc("The likelihood ratio gains nothing beyond 1 - clip and 1 + clip.")] = 0.1

    citation: ClassVar[str] = "Duan et al. 2016, arXiv:1611.02779"
    capabilities: ClassVar[frozenset[Capability]] = ActorCritic.capabilities | {Capability.OWN_OUTER_LOSS}
    prefix: ClassVar[str] = "rl2"

    def memory(self, inputs: int, generator: Generator) -> tuple[Params, int]:
        return gru(inputs, self.units, generator), self.units

    def start(self, learner: Learner, meta: Params, trials: tuple[int, ...]) -> Params:
        return {"hidden": meta["rl2.bias"].new_zeros(*trials, self.units)}

    def read(self, meta: Params, x: Tensor, memory: Params) -> tuple[Tensor, Params]:
        hidden, states = memory["hidden"], []
        for drive in F.linear(x, meta["rl2.input"], meta["rl2.bias"]).unbind(-2):
            hidden = gru_step(drive, hidden, meta["rl2.hidden"], ACTIVATIONS[self.candidate])
            states.append(hidden)
        return torch.stack(states, -2), {"hidden": hidden}

    def policy_loss(self, learner: Learner, predict: Predict, batch: Any) -> Tensor:
        return learner.acting.clipped(predict, batch, self.clip)
