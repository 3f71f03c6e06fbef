"""What learners with a memory have in common: one function reads a trial, and two linear heads give the outputs of the
policy and the value at each of its steps."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge
from torch import Generator, Tensor

from maml_bench.checked import later
from maml_bench.core.learner import Learner
from maml_bench.core.memory import Answer, Chance, Remembering
from maml_bench.core.setup import Capability
from maml_bench.declared import LARGE, When
from maml_bench.setups._shared.own_parameters import beside
from maml_bench.types import Episode, Params, Predict


@dataclass(frozen=True)
class ActorCritic(Remembering):
    """Base of these setups. They define ``start``, ``memory`` and ``read``, and may define ``policy_loss``.

    The loss of whole trials is ``policy_loss`` plus ``value`` times the squared error of the values, minus ``entropy``
    times the entropy of the actions. Acting reads the steps of a trial one by one, and the loss reads them again. The
    network of the tasks is not used.

    With ``value_unit = "mean reward"`` the value head predicts the return divided by the discounted number of steps
    that remain. That is a weighted mean of the coming rewards, so its scale does not depend on the length of a trial,
    and neither does the weight of its error beside the loss of the policy. Van Hasselt et al. (2016), "Learning values
    across many orders of magnitude", arXiv:1602.07714, explain why targets should have a fixed scale; they learn the
    scale, and here it follows from the discount and the time.
    """

    value: Annotated[float, Ge(0), LARGE, Doc("Factor of half the squared error of the values in the loss.")] = 0.5
    value_unit: Annotated[
        Literal["return", "mean reward"],
        When("value"),
        Doc("What the value head predicts: the return, or the return by the discounted number of steps that remain."),
    ] = later("return")
    entropy: Annotated[float, Ge(0), LARGE, Doc("Factor of the entropy of the actions, which the loss rewards.")] = 0.0

    capabilities: ClassVar[frozenset[Capability]] = Remembering.capabilities | {
        Capability.TRAINS,
        Capability.NEEDS_QUERY,
    }
    prefix: ClassVar[str]

    @abstractmethod
    def memory(self, inputs: int, generator: Generator) -> tuple[Params, int]:
        """The parameters of what reads inputs of this width, and the number of its features."""

    @abstractmethod
    def read(self, meta: Params, x: Tensor, memory: Params) -> tuple[Tensor, Params]:
        """Features ``[..., T, F]`` of the steps ``x [..., T, I]`` that follow on ``memory``, and the memory after
        them."""

    def read_whole(self, learner: Learner, meta: Params, x: Tensor) -> Tensor:
        """Features ``[R, T, F]`` of whole trials ``x [R, T, I]``."""
        return self.read(meta, x, self.start(learner, meta, x.shape[:-2]))[0]

    def policy_loss(self, learner: Learner, predict: Predict, batch: Any) -> Tensor:
        """The loss of the outputs for one task's trials: by default that of the recipe's ``outer.estimator``."""
        return learner.outer_loss(predict, batch)

    def init(self, learner: Learner, generator: Generator) -> Params:
        """The heads start at zero, so that all actions are equally likely at first. The standard deviations of actions
        do not depend on the input, as in the policies of the other setups."""
        own, features = self.memory(learner.acting.inputs(), generator)
        _, actions = learner.acting.sizes()
        heads = {"head.weight": torch.zeros(actions + 1, features), "head.bias": torch.zeros(actions + 1)}
        if more := learner.acting.outputs() - actions:
            heads["log_std"] = torch.zeros(more)
        return beside(learner.initial(), self.prefix, own | heads)

    def expects(self) -> bool:
        return True

    def expects_mean_reward(self) -> bool:
        return self.value_unit == "mean reward"

    def act(self, learner: Learner, meta: Params, memory: Params, x: Tensor, chance: Chance) -> Answer:
        features, memory = self.read(meta, x.unsqueeze(-2), memory)
        outputs, values = self._heads(meta, features.squeeze(-2))
        return Answer(outputs, values, memory)

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        """The outputs ``[R, T, O]`` for whole trials ``x [R, T, I]``."""
        return self._both(learner, state, x)[0]

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        batch, terms = episode.query, learner.acting
        outputs, values = self._both(learner, meta, batch.observations)
        error = terms.value_error(values, batch, mean_reward=self.expects_mean_reward())
        loss = self.policy_loss(learner, lambda x: outputs, batch) + self.value * error
        return loss - self.entropy * terms.entropy(outputs, batch) if self.entropy else loss

    def _both(self, learner: Learner, meta: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._heads(meta, self.read_whole(learner, meta, x))

    def _heads(self, meta: Params, features: Tensor) -> tuple[Tensor, Tensor]:
        found = F.linear(features, meta[f"{self.prefix}.head.weight"], meta[f"{self.prefix}.head.bias"])
        outputs, values = found[..., :-1], found[..., -1]
        if f"{self.prefix}.log_std" in meta:
            log_std = meta[f"{self.prefix}.log_std"].expand(*outputs.shape[:-1], -1)
            outputs = torch.cat([outputs, log_std], -1)
        return outputs, values
