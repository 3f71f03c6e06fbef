"""Random tabular Markov decision processes (Duan et al. 2016, "RL^2", arXiv:1611.02779, section 3.2): mean rewards are
N(1, 1) with unit noise, transitions are uniform on the simplex, and an episode takes 10 steps from state 0. The
processes are those of Osband et al. (2013)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le
from torch import Tensor

from maml_bench.checked import later
from maml_bench.data.draws import key_of, uniform, words
from maml_bench.declared import AT_ONCE
from maml_bench.record import Metric
from maml_bench.rl.actions import Actions, Categorical, Gaussian
from maml_bench.rl.control import Hidden
from maml_bench.rl.trials import Episodes, Trials
from maml_bench.rl.world import Noise, World


@dataclass(frozen=True)
class MDP(Trials):
    """The agent observes one of ``states`` states as a one-hot vector and has ``choices`` actions in each of them.
    Without ``hidden`` layers the policy is a table.

    A rollout has ``episodes`` episodes of ``horizon`` steps. At the end of each the world says so and returns to state
    0. With ``total`` the score is the sum of all rewards: the trials of the paper. Without it, the optimal expected
    return, divided by the horizon, is subtracted from each reward. The expected policy gradient does not depend on
    this constant.
    """

    states: Annotated[int, Ge(1), Le(256), Doc("Number of states.")] = 10
    choices: Annotated[
        int, Ge(2), Le(256), Doc("Number of actions in each state. One would leave nothing to learn.")
    ] = 5
    horizon: Annotated[int, Ge(1), AT_ONCE, Doc("Steps of an episode.")] = 10
    discount: Annotated[float, Gt(0), Le(1), Doc("Discount of rewards.")] = 1.0
    hidden: Hidden = ()
    episodes: Episodes = later(1)

    name: ClassVar[str] = "mdp"
    metric: ClassVar[Metric] = Metric("regret", higher_is_better=False)
    actions: ClassVar[Actions] = Categorical()
    prior: ClassVar[tuple[float, float]] = (1.0, 1.0)

    def sizes(self) -> tuple[int, int]:
        return self.states, self.choices

    def draw(self, split: str, first: int, count: int, key: int) -> Tensor:
        """``[B, states * choices * (1 + states)]``: mean rewards, then the transition of each state and choice."""
        pairs = self.states * self.choices
        chance = words(key_of(key, self.name, split, "processes"), first, count, pairs * (1 + self.states))
        rewards = 1 + Gaussian().from_words(chance[:, :pairs])
        waits = -uniform(chance[:, pairs:], 1, 2**-25).log().reshape(count, pairs, self.states)
        return torch.cat([rewards, (waits / waits.sum(-1, keepdim=True)).flatten(1)], 1)

    def longest(self) -> int:
        return self.horizon * self.episodes

    def start(self, tasks: Tensor, rollouts: int, noise: Noise) -> World:
        return _Tables(self, tasks, rollouts, noise)

    def tables(self, tasks: Tensor) -> tuple[Tensor, Tensor]:
        pairs = self.states * self.choices
        shape = (*tasks.shape[:-1], self.states, self.choices)
        return tasks[..., :pairs].reshape(shape), tasks[..., pairs:].reshape(*shape, self.states)

    def optimum(self, tasks: Tensor) -> Tensor:
        """The best expected return from state 0 over the horizon ``[B]``, by dynamic programming."""
        rewards, leads = self.tables(tasks)
        value = tasks.new_zeros(len(tasks), self.states)
        for _ in range(self.horizon):
            value = (rewards + (leads * value[:, None, None]).sum(-1)).max(-1).values
        return value[:, 0]

    def best(self, tasks: Tensor) -> Tensor:
        """What the best policy earns in a step, on average, ``[B]``."""
        return self.optimum(tasks) / self.horizon


class _Tables:
    """The states ``[B, R]`` of processes given as tables."""

    def __init__(self, rules: MDP, tasks: Tensor, rollouts: int, noise: Noise) -> None:
        shape = (len(tasks), rollouts, rules.longest())
        rewards, leads = rules.tables(tasks)
        self._rewards, self._leads = rewards.flatten(1), leads.flatten(1, 2).cumsum(-1)
        self._less = rules.offset(tasks)
        self._noise = Gaussian().from_words(noise("rewards", rollouts * rules.longest())).reshape(shape)
        self._luck = uniform(noise("transitions", rollouts * rules.longest()), 0, 1).reshape(shape)
        self._choices, self._states, self._horizon, self._time = rules.choices, rules.states, rules.horizon, 0
        self._at = torch.zeros(shape[:2], dtype=torch.int64, device=tasks.device)

    def observe(self) -> Tensor:
        return torch.nn.functional.one_hot(self._at, self._states).float()

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        pair = self._at * self._choices + actions
        reward = self._rewards.gather(1, pair) + self._noise[..., self._time] - self._less
        leads = self._leads.gather(1, pair.unsqueeze(-1).expand(-1, -1, self._states))
        self._at = (leads[..., :-1] <= self._luck[..., self._time, None]).sum(-1)
        self._time += 1
        ended = self._time % self._horizon == 0
        if ended:
            self._at = torch.zeros_like(self._at)
        return reward, torch.full_like(actions, ended, dtype=torch.bool)
