"""The two-step task (Wang et al. 2016, "Learning to reinforcement learn", arXiv:1611.05763, section 3.2, after Daw et
al. 2011, doi:10.1016/j.neuron.2011.02.027): a choice leads to one of two states, of which one pays well."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le
from torch import Tensor

from maml_bench.data.draws import key_of, uniform, words
from maml_bench.record import Metric
from maml_bench.rl.actions import Actions, Categorical
from maml_bench.rl.control import Hidden
from maml_bench.rl.trials import Episodes, Trials
from maml_bench.rl.world import Noise, World

HORIZON = 2
"""Steps of an episode: the choice, and the state that it leads to."""


@dataclass(frozen=True)
class TwoStep(Trials):
    """In the first step of an episode the agent chooses between two actions. Each leads to a state of its own with the
    probability ``common``, and otherwise to the state of the other action. In the second step it is paid 1 with the
    probability of that state, whatever it does. The probabilities are ``high`` and 1 - ``high``; which state has the
    high one is drawn for each task and stays for its ``episodes``.

    The agent observes the state as a one-hot vector: the choice, then one of the two states. The paper gives the
    probabilities. The number of episodes is that of a public reproduction (mtrazzi/two-step-task, arxiv.ipynb).
    """

    discount: Annotated[float, Gt(0), Le(1), Doc("Discount of rewards.")] = 1.0
    hidden: Hidden = ()
    horizon: Annotated[int, Ge(HORIZON), Le(HORIZON), Doc("Steps of an episode.")] = HORIZON
    episodes: Episodes = 10
    common: Annotated[float, Ge(0.5), Le(1), Doc("Probability of the common transition.")] = 0.75
    high: Annotated[float, Ge(0.5), Le(1), Doc("Probability of a payment in the better state.")] = 0.9

    name: ClassVar[str] = "two_step"
    metric: ClassVar[Metric] = Metric("regret", higher_is_better=False)
    actions: ClassVar[Actions] = Categorical()
    prior: ClassVar[tuple[float, float]] = (0.5, 2.0)

    def sizes(self) -> tuple[int, int]:
        return 3, 2

    def draw(self, split: str, first: int, count: int, key: int) -> Tensor:
        """Probabilities ``[B, 2]`` of a payment in the two states."""
        chance = uniform(words(key_of(key, self.name, split, "states"), first, count, 1), 0, 1)
        better = torch.where(chance < 0.5, self.high, 1 - self.high)
        return torch.cat([better, 1 - better], 1)

    def longest(self) -> int:
        return self.horizon * self.episodes

    def start(self, tasks: Tensor, rollouts: int, noise: Noise) -> World:
        luck = uniform(noise("luck", rollouts * self.longest()), 0, 1).reshape(len(tasks), rollouts, self.longest())
        return _States(tasks, luck, self.common, self.offset(tasks))

    def tables(self, tasks: Tensor) -> tuple[Tensor, Tensor]:
        rewards = torch.cat([torch.zeros_like(tasks[..., :1]), tasks], -1).unsqueeze(-1).expand(*tasks.shape[:-1], 3, 2)
        often, seldom = self.common, 1 - self.common
        back = [1.0, 0.0, 0.0]
        leads = tasks.new_tensor([[[0, often, seldom], [0, seldom, often]], [back, back], [back, back]])
        return rewards, leads.expand(*tasks.shape[:-1], 3, 2, 3)

    def best(self, tasks: Tensor) -> Tensor:
        """What the better action earns in a step, on average, ``[B]``."""
        high, low = tasks.max(1).values, tasks.min(1).values
        return (self.common * high + (1 - self.common) * low) / HORIZON


class _States:
    """The states ``[B, R]`` of such tasks: 0 before the choice, then 1 or 2. Each step has its luck ``[B, R, T]``, and
    ``less [B, 1]`` is subtracted from each reward."""

    def __init__(self, chances: Tensor, luck: Tensor, common: float, less: Tensor) -> None:
        self._chances, self._luck, self._common, self._less, self._time = chances, luck, common, less, 0
        self._at = torch.zeros(luck.shape[:2], dtype=torch.int64, device=luck.device)

    def observe(self) -> Tensor:
        return torch.nn.functional.one_hot(self._at, 3).float()

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        luck, ends = self._luck[..., self._time], bool(self._time % HORIZON)
        if ends:
            paid = (luck < self._chances.gather(1, self._at - 1)).float()
            self._at = torch.zeros_like(self._at)
        else:
            paid = torch.zeros_like(luck)
            self._at = 1 + torch.where(luck < self._common, actions, 1 - actions)
        self._time += 1
        return paid - self._less, torch.full_like(actions, ends, dtype=torch.bool)
