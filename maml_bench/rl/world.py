"""The worlds in which agents act: a batch of tasks with some copies of each, all at the same time step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from maml_bench.data.draws import key_of, words

Noise = Callable[[str, int], Tensor]
"""Random words ``[B, draws]`` (int64) of each task for a purpose, such as the start of its rollouts."""


class World(Protocol):
    """B tasks with R copies each, all at the same time step."""

    def observe(self) -> Tensor:
        """The observations of the agents, ``[B, R, D]``."""
        ...

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step; return its rewards ``[B, R]`` and whether it ended the episode, ``[B, R]`` bool."""
        ...


class Restarting(World, Protocol):
    """A world whose episodes can end before the horizon."""

    def rest(self, which: Tensor) -> None:
        """The copies ``which [B, R]`` are no longer needed, so they need not move."""
        ...

    def restart(self, which: Tensor, tasks: Tensor) -> None:
        """Restart the copies ``which [B, R]``; from now on the tasks of all copies are ``tasks [B, P]``."""
        ...


@dataclass(frozen=True)
class Streams:
    """Random words for tasks ``first`` to ``first + count - 1``; each purpose has its own stream."""

    key: tuple[object, ...]
    first: int
    count: int
    device: str

    def words(self, purpose: str, draws: int) -> Tensor:
        return words(key_of(*self.key, purpose), self.first, self.count, draws, self.device)


class Stage:
    """A world as the agents see it.

    Args:
        world: B tasks with R copies each.
        tasks: the parameters of the tasks, ``[B, P]``.
        reveal: whether the agents observe these parameters too.
    """

    def __init__(self, world: World, tasks: Tensor, *, reveal: bool) -> None:
        self._world, self._tasks, self._reveal = world, tasks, reveal

    def observe(self) -> Tensor:
        """The observations of the agents, ``[B, R, D]``; with ``reveal`` they end with the task."""
        x = self._world.observe()
        return torch.cat([x, self._tasks.unsqueeze(1).expand(*x.shape[:2], -1)], -1) if self._reveal else x

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """See `World.act`."""
        return self._world.act(actions)

    def follow(self, on: Tensor, again: Tensor) -> None:
        """Only the copies ``on [B, R]`` go on; of these, ``again [B, R]`` begin another episode."""
        world = cast(Restarting, self._world)
        world.rest(~on)
        if again.any():
            world.restart(again, self._tasks)


class MixedStage(Stage):
    """A world of B tasks with one copy each, which looks like one task with B copies.

    Every episode that follows another one has a new task.

    Args:
        world: B tasks with one copy each.
        tasks: the parameters of the tasks, ``[B, P]``.
        reveal: whether the agents observe these parameters too.
        more: the n-th new tasks ``[B, P]`` for a number n.
    """

    def __init__(self, world: World, tasks: Tensor, *, reveal: bool, more: Callable[[int], Tensor]) -> None:
        super().__init__(world, tasks, reveal=reveal)
        self._more, self._times = more, 0

    def observe(self) -> Tensor:
        """The observations of the agents, ``[1, B, D]``."""
        return super().observe().transpose(0, 1)

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        reward, ended = super().act(actions.transpose(0, 1))
        return reward.transpose(0, 1), ended.transpose(0, 1)

    def follow(self, on: Tensor, again: Tensor) -> None:
        if again.any():
            self._times += 1
            self._tasks = torch.where(again.transpose(0, 1), self._more(self._times), self._tasks)
        super().follow(on.transpose(0, 1), again.transpose(0, 1))
