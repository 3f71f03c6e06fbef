"""Bernoulli bandits (Duan et al. 2016, "RL^2", arXiv:1611.02779, section 3.1; Wang et al. 2016, arXiv:1611.05763): each
arm pays 1 with its own probability, which is uniform in [0, 1]."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le
from torch import Tensor

from maml_bench.data.draws import key_of, uniform, words
from maml_bench.record import Metric
from maml_bench.rl.actions import Actions, Categorical
from maml_bench.rl.control import Control, returns
from maml_bench.rl.trajectories import Trajectories
from maml_bench.rl.world import Noise, World
from maml_bench.types import Predict


@dataclass(frozen=True)
class Bandit(Control):
    """The agent chooses one of ``arms`` arms in each of ``horizon`` steps. It observes only a constant 1, so without
    ``hidden`` layers its parameters are the logits of the arms.

    The mean payment of the best arm is subtracted from each reward, so a return is minus the regret. The expected
    policy gradient does not depend on this constant.
    """

    arms: Annotated[int, Ge(1), Doc("Number of arms.")] = 5
    horizon: Annotated[int, Ge(1), Doc("Steps of a rollout.")] = 10
    discount: Annotated[float, Gt(0), Le(1), Doc("Discount of rewards.")] = 1.0
    hidden: Annotated[tuple[int, ...], Doc("Widths of the hidden layers of the policy.")] = ()

    name: ClassVar[str] = "bandit"
    metric: ClassVar[Metric] = Metric("regret", higher_is_better=False)
    actions: ClassVar[Actions] = Categorical()

    def sizes(self) -> tuple[int, int]:
        return 1, self.arms

    def draw(self, split: str, first: int, count: int, key: int) -> Tensor:
        """Probabilities ``[B, arms]``."""
        return uniform(words(key_of(key, self.name, split, "arms"), first, count, self.arms), 0, 1)

    def start(self, tasks: Tensor, rollouts: int, noise: Noise) -> World:
        luck = uniform(noise("rewards", rollouts * self.horizon), 0, 1).reshape(len(tasks), rollouts, self.horizon)
        return _Arms(tasks, luck)

    def score(self, predict: Predict, batch: Trajectories) -> Tensor:
        """Mean regret of the rollouts: how much more the best arm would have paid."""
        return -returns(batch)


class _Arms:
    """Machines with probabilities ``[B, arms]`` and luck ``[B, R, T]``: an arm pays where luck is below it."""

    def __init__(self, chances: Tensor, luck: Tensor) -> None:
        self._chances, self._luck, self._time = chances, luck, 0

    def observe(self) -> Tensor:
        return self._luck.new_ones(*self._luck.shape[:2], 1)

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        paid = (self._luck[..., self._time] < self._chances.gather(1, actions)).float()
        self._time += 1
        return paid - self._chances.max(1, keepdim=True).values, torch.zeros_like(actions, dtype=torch.bool)
