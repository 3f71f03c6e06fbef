"""Families whose rollout can be a trial: several pulls or episodes of one task, in which an agent with a memory learns
(Duan et al. 2016, arXiv:1611.02779, section 2.2)."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.checked import later
from maml_bench.declared import AT_ONCE
from maml_bench.record import Metric
from maml_bench.rl.control import Control
from maml_bench.rl.step_budget import StepBudget, Trial
from maml_bench.rl.trajectories import Trajectories
from maml_bench.types import Predict

Episodes = Annotated[int, Ge(1), AT_ONCE, Doc("Episodes of a rollout, which follow each other from the start state.")]


@dataclass(frozen=True)
class Trials(Control):
    """Base of these families. With ``total`` the rewards are those of the task, and the score is their sum over the
    trial. Without it, the best expected reward is subtracted from the rewards, so a return is minus the regret."""

    total: Annotated[
        bool,
        Doc(
            "Whether the score is the total reward of a rollout. Otherwise it is the regret, and the best expected "
            "reward is subtracted from the rewards."
        ),
    ] = later(False)

    prior: ClassVar[tuple[float, float]]
    """The mean of the rewards before anything is seen, and how many rewards this counts as."""

    def __post_init__(self) -> None:
        if self.total:
            object.__setattr__(self, "metric", Metric("reward"))

    @abstractmethod
    def tables(self, tasks: Tensor) -> tuple[Tensor, Tensor]:
        """The tasks ``[..., P]`` of `draw` as mean rewards ``[..., S, A]`` of each action in each state, and transition
        probabilities ``[..., S, A, S]``."""

    def episode(self) -> int:
        """Steps of an episode, after which the agent is in the start state again."""
        return self.horizon

    @abstractmethod
    def best(self, tasks: Tensor) -> Tensor:
        """The best expected reward of a step ``[B]``, on average over a rollout, for an agent that knows the task."""

    def offset(self, tasks: Tensor) -> Tensor:
        """What is subtracted from each reward ``[B, 1]``."""
        less = torch.zeros_like(tasks[:, 0]) if self.total else self.best(tasks)
        return less.unsqueeze(1)

    def best_scores(self, split: str, first: int, count: int, key: int) -> list[float]:
        if not self.total:
            return []
        best = self.longest() * self.best(self.draw(split, first, count, key))
        return best.tolist()

    def _budget(self, *, in_order: bool) -> type[StepBudget]:
        return Trial

    def score(self, predict: Predict, batch: Trajectories) -> Tensor:
        """Mean regret of the rollouts: how much more the best policy would have earned. With ``total``, what they
        earned."""
        earned = (batch.rewards * batch.mask).sum((-2, -1)) / batch.mask.shape[-2]
        return earned if self.total else -earned
