"""A run in progress, who watches it, and how it draws its episodes."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Setup
from maml_bench.engine.meta_step import MetaStep
from maml_bench.harness.clock import Clock
from maml_bench.harness.recipe import Recipe
from maml_bench.types import Episode, Params, Shape, TaskDistribution


class Observer(Protocol):
    """Who watches a run; every method may be called often and must return at once."""

    def started(self, title: str, step: int, steps: int) -> None: ...
    def stepped(self, step: int, loss: float) -> None: ...
    def validated(self, step: int, mean: float) -> None: ...
    def tested(self, tasks: int, of: int) -> None: ...
    def said(self, sentence: str) -> None: ...


class Silent:
    """An observer that does not care."""

    def started(self, title: str, step: int, steps: int) -> None:
        """Nothing."""

    def stepped(self, step: int, loss: float) -> None:
        """Nothing."""

    def validated(self, step: int, mean: float) -> None:
        """Nothing."""

    def tested(self, tasks: int, of: int) -> None:
        """Nothing."""

    def said(self, sentence: str) -> None:
        """Nothing."""


Kept = tuple[float, int, Params]
"""Validation score, meta-step and meta-parameters of a checkpoint that may be selected."""
KEEP = 5


@dataclass
class Training:
    """A run in progress: what is fixed, then what moves from step to step."""

    recipe: Recipe
    tasks: TaskDistribution
    setup: Setup
    learner: Learner
    seed: int
    device: str
    clock: Clock
    body: MetaStep
    meta: Params
    optimiser: Any
    step: int = 0
    kept: list[Kept] = field(default_factory=list)
    curve: dict[str, list[Any]] = field(
        default_factory=lambda: {"step": [], "seconds": [], "train_loss": [], "validation": [], "validation_ci95": []}
    )
    recent_losses: list[float] = field(default_factory=list)
    env_steps: int = 0

    @property
    def train_s(self) -> float:
        """Seconds of training clock: sampling and outer steps, warm-up included."""
        return self.clock.total_s("sample", "outer_step")

    def diverged(self) -> bool:
        """Whether the last outer loss was not a number."""
        return bool(self.recent_losses) and not math.isfinite(self.recent_losses[-1])


def acting(tasks: TaskDistribution) -> Any:
    """The task distribution where somebody must act to learn of its tasks, else None."""
    return tasks if getattr(tasks, "acts", False) else None


def draw(
    run: Training,
    split: str,
    first: int,
    count: int,
    *,
    key: int,
    shape: Shape,
    measure: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
) -> Episode:
    """Episodes ``first`` to ``first + count - 1``; who acts in them is the setup at its present meta-parameters."""
    actor = run.body.actor(run.meta, measure) if acting(run.tasks) else None
    return run.tasks.sample(split, first, count, key=key, shape=shape, adapt=actor, device=run.device)
