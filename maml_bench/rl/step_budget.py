"""Which steps of rollouts count. Either each rollout is one episode, or new episodes follow those that end early. Then
as many whole episodes count as are needed for the steps of R rollouts of full length.

Shapes: B tasks, R parallel rollouts, T time steps; all on one device.
"""

import torch
from torch import Tensor


class StepBudget:
    """Every rollout is one episode, until it ends or reaches the horizon.

    Attributes:
        longest: how many time steps may be needed.
        on: which rollouts continue, ``[B, R]`` bool.
        time: the number of steps so far in their present episodes, ``[B, R]``.
    """

    def __init__(self, tasks: int, rollouts: int, horizon: int, device: torch.device | str = "cpu") -> None:
        self.longest = self._horizon = horizon
        self._steps = rollouts * horizon
        self.on = torch.ones(tasks, rollouts, dtype=torch.bool, device=device)
        self.time = torch.zeros(tasks, rollouts, device=device)
        self._mask: list[Tensor] = []
        self._times: list[Tensor] = []
        self._over: list[Tensor] = []

    def step(self, ended: Tensor) -> Tensor:
        """Count a time step, in which the episodes ``ended [B, R]`` end; return which rollouts begin another one."""
        self._mask.append(self.on.to(self.time.dtype))
        self._times.append(self.time * self.on)
        self._over.append(self.on & (ended | (self.time + 1 >= self._horizon)))
        again = self._follow(self._over[-1])
        self.time = torch.where(self._over[-1], 0, self.time + 1)
        return again

    def counted(self) -> tuple[Tensor, Tensor]:
        """A mask, 1 for the steps that count, and the steps since their episodes began, both ``[B, R, T]``."""
        return self._counting(torch.stack(self._mask, 2)), torch.stack(self._times, 2)

    def _follow(self, over: Tensor) -> Tensor:
        self.on = self.on & ~over
        return torch.zeros_like(over)

    def _counting(self, mask: Tensor) -> Tensor:
        return mask


class Trial(StepBudget):
    """Every rollout is one trial of ``horizon`` steps. Where an episode ends the next one follows, in a world that
    restarts by itself, so all steps count."""

    def _follow(self, over: Tensor) -> Tensor:
        return torch.zeros_like(over)


class InTurn(StepBudget):
    """The first episodes count, rollout by rollout, as if they were collected one after the other. Their order does not
    depend on their length, so neither short nor long ones are over-represented."""

    def __init__(self, tasks: int, rollouts: int, horizon: int, device: torch.device | str = "cpu") -> None:
        super().__init__(tasks, rollouts, horizon, device)
        self.longest = 2 * horizon
        self._taken = torch.zeros_like(self.time)

    def _follow(self, over: Tensor) -> Tensor:
        now = len(self._mask)
        again = over if now < self._horizon else torch.zeros_like(over)
        self.on = self.on & ~(over & ~again)
        self._taken = self._taken + self._mask[-1]
        if now >= self._horizon:
            self.on = self.on & in_reach(self._taken, torch.where(over, 0, self.time + 1), self._steps)
        return again

    def _counting(self, mask: Tensor) -> Tensor:
        return whole(mask, torch.stack(self._times, 2), self._steps)


class FirstEnded(StepBudget):
    """The episodes that end first count, until they have enough steps together; unfinished episodes do not count.

    The released evaluation does this (vectorized_sampler.py of cbfinn/maml_rl). Short episodes are over-represented: if
    episodes end at the goal, returns look better than they are.
    """

    def __init__(self, tasks: int, rollouts: int, horizon: int, device: torch.device | str = "cpu") -> None:
        super().__init__(tasks, rollouts, horizon, device)
        self.longest = 2 * horizon
        self._taken = torch.zeros_like(self.time[:, :1])

    def _follow(self, over: Tensor) -> Tensor:
        self._taken = self._taken + ((self.time + 1) * over).sum(1, keepdim=True)
        enough = self._taken >= self._steps
        self.on = self.on & ~enough
        return over & ~enough

    def _counting(self, mask: Tensor) -> Tensor:
        over = torch.stack(self._over, 2)
        return mask * (over.flip(2).cumsum(2).flip(2) > 0)


def whole(mask: Tensor, time: Tensor, steps: int) -> Tensor:
    """The mask of the first episodes, rollout by rollout, that have ``steps`` steps together, the last to its end."""
    flat, begun = mask.flatten(1), (mask * (time == 0)).flatten(1)
    before = flat.cumsum(1) - flat
    begins = torch.where(begun.bool(), torch.arange(flat.shape[1], device=flat.device), 0).cummax(1).values
    return (flat * (before.gather(1, begins) < steps)).reshape(mask.shape)


def in_reach(taken: Tensor, time: Tensor, steps: int) -> Tensor:
    """Whether the episode that each rollout is in can still be among those that `whole` takes, ``[B, R]``.

    ``taken [B, R]`` are the steps of the rollouts so far, ``time [B, R]`` those of their present episodes. The number
    of steps only grows: if ``steps`` of them are already before an episode, it will not be taken.
    """
    return taken.cumsum(1) - time < steps
