"""Bernoulli bandits (Duan et al. 2016, "RL^2", arXiv:1611.02779, section 3.1; Wang et al. 2016, arXiv:1611.05763,
section 3.1): each arm pays 1 with its own probability."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le
from torch import Tensor

from maml_bench.checked import later
from maml_bench.data.draws import key_of, uniform, words
from maml_bench.declared import AT_ONCE, WIDTH
from maml_bench.errors import MamlBenchError
from maml_bench.record import Metric
from maml_bench.rl.actions import Actions, Categorical
from maml_bench.rl.control import Hidden
from maml_bench.rl.trials import Trials
from maml_bench.rl.world import Noise, World

PAIRS = {"easy": (0.1, 0.9), "medium": (0.25, 0.75), "hard": (0.4, 0.6)}
"""The two probabilities of Wang et al.'s dependent arms, one of which is the better arm in half of the tasks."""


@dataclass(frozen=True)
class Bandit(Trials):
    """The agent chooses one of ``arms`` arms in each of ``horizon`` steps. It observes only a constant 1, so without
    ``hidden`` layers its parameters are the logits of the arms.

    With ``total`` the rewards are the payments, and the score is their sum: the trials of the two papers. Without it,
    the mean payment of the best arm is subtracted from each reward. The expected policy gradient does not depend on
    this constant.

    Raises:
        MamlBenchError: ``chances`` is for two arms, and there are others.
    """

    arms: Annotated[int, Ge(2), WIDTH, Doc("Number of arms. One arm would leave nothing to learn.")] = 5
    horizon: Annotated[int, Ge(1), AT_ONCE, Doc("Steps of a rollout: the pulls of a task.")] = 10
    discount: Annotated[float, Gt(0), Le(1), Doc("Discount of rewards.")] = 1.0
    hidden: Hidden = ()
    chances: Annotated[
        Literal["independent", "dependent", "easy", "medium", "hard"],
        Doc(
            "How an arm's probability is drawn: uniform for each arm or, for two arms, p and 1 - p, where p is uniform "
            "(`dependent`) or one of 0.1 and 0.9 (`easy`), 0.25 and 0.75 (`medium`), 0.4 and 0.6 (`hard`)."
        ),
    ] = later("independent")

    name: ClassVar[str] = "bandit"
    metric: ClassVar[Metric] = Metric("regret", higher_is_better=False)
    actions: ClassVar[Actions] = Categorical()
    prior: ClassVar[tuple[float, float]] = (0.5, 2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chances != "independent" and self.arms != 2:
            raise MamlBenchError(
                f"tasks.chances is {self.chances!r}, which is for two arms, but tasks.arms is {self.arms}"
            )

    def sizes(self) -> tuple[int, int]:
        return 1, self.arms

    def draw(self, split: str, first: int, count: int, key: int) -> Tensor:
        """Probabilities ``[B, arms]``."""
        drawn = uniform(words(key_of(key, self.name, split, "arms"), first, count, self.arms), 0, 1)
        if self.chances == "independent":
            return drawn
        chance = drawn[:, 0]
        if self.chances != "dependent":
            low, high = PAIRS[self.chances]
            chance = torch.where(chance < 0.5, low, high)
        return torch.stack([chance, 1 - chance], 1)

    def start(self, tasks: Tensor, rollouts: int, noise: Noise) -> World:
        luck = uniform(noise("rewards", rollouts * self.horizon), 0, 1).reshape(len(tasks), rollouts, self.horizon)
        return _Arms(tasks, luck, self.offset(tasks))

    def tables(self, tasks: Tensor) -> tuple[Tensor, Tensor]:
        return tasks.unsqueeze(-2), torch.ones_like(tasks)[..., None, :, None]

    def episode(self) -> int:
        """One: a pull changes nothing but what is known."""
        return 1

    def best(self, tasks: Tensor) -> Tensor:
        """What the best arm pays, on average, ``[B]``."""
        return tasks.max(1).values


class _Arms:
    """Machines with probabilities ``[B, arms]`` and luck ``[B, R, T]``: an arm pays where luck is below it. ``less
    [B, 1]`` is subtracted from each payment."""

    def __init__(self, chances: Tensor, luck: Tensor, less: Tensor) -> None:
        self._chances, self._luck, self._less, self._time = chances, luck, less, 0

    def observe(self) -> Tensor:
        return self._luck.new_ones(*self._luck.shape[:2], 1)

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        paid = (self._luck[..., self._time] < self._chances.gather(1, actions)).float()
        self._time += 1
        return paid - self._less, torch.zeros_like(actions, dtype=torch.bool)
