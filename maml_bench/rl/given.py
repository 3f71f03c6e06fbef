"""What agents are given beside their observations: random numbers, and what they did and earned last."""

import itertools
import math

import torch
from torch import Tensor

from maml_bench.core.memory import Chance
from maml_bench.data.draws import uniform
from maml_bench.rl.actions import Actions
from maml_bench.rl.world import Streams


def chance(streams: Streams, shape: tuple[int, ...]) -> Chance:
    """Random numbers for the agents of rollouts ``shape`` = (B, R), see core.memory.Chance."""
    calls = itertools.count()

    def draw(number: int) -> Tensor:
        drawn = streams.words(f"agent {next(calls)}", math.prod(shape) // streams.count * number)
        return uniform(drawn, 0, 1).reshape(*shape, number)

    return draw


class History:
    """The last actions ``[B, R, A]`` and rewards ``[B, R]`` of agents; at first both are zero."""

    def __init__(self, actions: Actions, number: int, trials: tuple[int, ...], device: str) -> None:
        self._actions, self._number = actions, number
        self._action = torch.zeros(*trials, number, device=device)
        self._reward = torch.zeros(trials, device=device)

    def beside(self, observations: Tensor, time: Tensor) -> Tensor:
        """What core.memory.Given splits: observations, last actions and rewards, and where episodes begin."""
        begins = (time == 0).to(observations.dtype)
        return torch.cat([observations, self._action, torch.stack([self._reward, begins], -1)], -1)

    def add(self, actions: Tensor, rewards: Tensor, on: Tensor) -> None:
        """Add a step, where ``on [B, R]``."""
        acted = self._actions.as_input(actions, self._number)
        self._action = torch.where(on.unsqueeze(-1), acted, self._action)
        self._reward = torch.where(on, rewards, self._reward)
