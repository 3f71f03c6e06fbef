"""The methods that a family of tasks needs for reinforcement learning.

An `Actor` acts: a setup at given meta-parameters. Episodes of such tasks are trajectories, and they depend on
the actor: the query is collected by the policies that were adapted to the support. A family with the methods of
`Acting` is one of these families; nothing else marks it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from inspect import isfunction
from typing import Any, Protocol, TypeGuard

from torch import Tensor

from maml_bench.core.memory import Answer, Chance
from maml_bench.types import Episode, Family, Params, Predict, Shape

Batch = Any
"""Trajectories of one task, a tree of tensors that only the family knows (see rl.trajectories)."""


class Actor(Protocol):
    """A setup at given meta-parameters, as it acts in R parallel rollouts of each of B tasks.

    It acts from a state. For learners by gradients the state is the adapted policy, which stays as it is during a
    rollout. For the others it is a memory, which changes at every step.
    """

    steps: int
    """The number of inner steps that training takes; for an actor that remembers, one less than a trial's rollouts."""
    remembers: bool
    """Whether the actor acts by a memory. Then the r-th rollouts of a task, after 0, 1, 2, ... rollouts of experience,
    are one trial, and the actor goes on with the state that it had at the end of the rollout before."""
    expects: bool
    """Whether the actor's answers have values, which then take the place of the linear baseline in advantages."""
    expects_mean_reward: bool
    """Whether these values are returns divided by the discounted number of steps that remain in the trial."""
    measure: Callable[[str], AbstractContextManager[None]]
    """A context that keeps the seconds of a block under a name."""

    def begin(self, path: Sequence[Batch], state: Params, trials: tuple[int, int]) -> Params:
        """The state at the start of the rollouts ``trials`` = (B, R) that follow those of ``path``.

        For learners by gradients, it is the policy of every task ``[B, ...]`` after one inner step on each batch of
        ``path``, or empty if all tasks still share one policy. For the others it is ``state``, the memory at the end of
        the path, or where the path is empty a new memory, ``[B, R, ...]``.
        """
        ...

    def act(self, state: Params, x: Tensor, chance: Chance) -> Answer:
        """The outputs for the inputs ``x [B, R, I]``, the values if the actor has any, and the state after this step.

        ``chance`` draws random numbers ``[B, R, n]`` for agents that need some beside those of their actions.
        """
        ...


class Geometry(Protocol):
    """What a trust region must know about the outputs of a policy. A batch is of one task, except in ``part``."""

    def answers(self, predict: Predict, batch: Batch) -> Tensor:
        """The outputs for everything in the batch."""
        ...

    def divergence(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The mean divergence of ``outputs`` from those of the policy that acted, a scalar."""
        ...

    def curvature(self, tangent: Tensor, batch: Batch) -> Tensor:
        """The second derivative of ``divergence`` at the outputs of the policy that acted, times ``tangent``."""
        ...

    def part(self, batch: Batch, share: float) -> Batch:
        """About that share of the rollouts of every task of ``batch [B, ...]``; at least one step of each task."""
        ...


class Acting(Family, Geometry, Protocol):
    """A family of tasks in which an actor collects the data."""

    def sizes(self) -> tuple[int, int]:
        """The size of an observation, and the dimensions of an action (or the number of actions to choose from)."""
        ...

    def inputs(self) -> int:
        """The width of what an agent is given: the observation, and what the options add to it."""
        ...

    def outputs(self) -> int:
        """How many outputs of an agent describe the distribution of an action."""
        ...

    def longest(self) -> int:
        """The number of steps of a rollout, at most."""
        ...

    def lengths_vary(self) -> bool:
        """Whether the rollouts of a task differ in length from one draw to the next."""
        ...

    def sample(
        self, split: str, first: int, count: int, *, key: int, shape: Shape, actor: Actor, device: str = "cpu"
    ) -> Episode:
        """Episodes ``first`` to ``first + count - 1`` of ``split``, as ``actor`` collects them.

        The support is a list of ``shape.shot`` rollouts before each inner step, the query ``shape.query`` rollouts
        after the last one. For an actor that remembers, the support is empty and the query is whole trials.
        """
        ...

    def path(
        self, split: str, first: int, count: int, *, key: int, rollouts: list[int], actor: Actor, device: str = "cpu"
    ) -> list[Batch]:
        """Rollouts after 0, 1, 2, ... inner steps, or after so many rollouts of experience; see `Actor`."""
        ...

    def estimate(self, estimator: str) -> Callable[[Predict, Batch], Tensor]:
        """The policy loss of that name (rl.losses.ESTIMATORS), of one task's rollouts."""
        ...

    def credit(self, predict: Predict, support: Batch, query: Batch) -> Tensor:
        """What E-MAML's outer loss subtracts from MAML's, of one task (rl.losses.credit)."""
        ...

    def clipped(self, predict: Predict, batch: Batch, clip: float) -> Tensor:
        """ProMP's outer loss of one task (rl.losses.clipped)."""
        ...

    def value_error(self, values: Tensor, batch: Batch, *, mean_reward: bool = False) -> Tensor:
        """Half the mean squared difference of ``values [R, T]`` from the discounted returns of one task's trials. With
        ``mean_reward``, from these returns divided by the discounted number of steps that remain."""
        ...

    def entropy(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The mean entropy of the actions in one task's rollouts, for ``outputs [R, T, O]``."""
        ...

    def steps_in(self, episode: Episode) -> int:
        """How many steps the episode's rollouts took in the environment."""
        ...

    def best_scores(self, split: str, first: int, count: int, key: int) -> list[float]:
        """The best expected score of each of these tasks; an empty list where the family does not know it."""
        ...

    def exhibit_path(self, path: list[Batch]) -> dict[str, Any] | None:
        """What a figure shows of the first test tasks; None if there is nothing to show."""
        ...


METHODS = tuple(
    sorted(
        name
        for part in (Geometry, Acting)
        for name, member in vars(part).items()
        if isfunction(member) and name[0] != "_"
    )
)
"""The methods that set these families apart from all others."""


def acts(tasks: object) -> TypeGuard[Acting]:
    """Whether an actor collects the data of these tasks; ``tasks`` is a family or its class."""
    return all(hasattr(tasks, method) for method in METHODS)
