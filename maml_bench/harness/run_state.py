"""A run in progress, and who watches it."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.normalisation import Mode
from maml_bench.core.setup import Setup
from maml_bench.engine.execution import Execution
from maml_bench.harness.clock import Clock
from maml_bench.harness.episodes import Episodes
from maml_bench.harness.recipe import Recipe
from maml_bench.harness.team import Team
from maml_bench.types import Episode, Family, Params


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
CURVE = ("step", "seconds", "train_loss", "validation", "validation_ci95", "validation_nonfinite")
"""The lists of a learning curve, see record.Curve."""


class OuterStep(Protocol):
    """The body of the outer loop: engine.meta_step.MetaStep or rl.trust_region.TrustRegionStep."""

    execution: Execution

    def init(self, meta: Params) -> Any:
        """The state of the outer optimiser before the first step."""
        ...

    def __call__(
        self, meta: Params, state: Any, episodes: Episode, number: int, rate: float
    ) -> tuple[Params, Any, Tensor]:
        """Meta-parameters and state after meta-step ``number`` at ``rate``, and the outer losses ``[B]``."""
        ...

    def gradient(self, meta: Params, episodes: Episode, number: int = 0) -> tuple[Params, Tensor]:
        """The meta-gradient of meta-step ``number``, and the outer losses ``[B]``."""
        ...


@dataclass
class RunState:
    """A run in progress: what is fixed, then what moves from step to step."""

    recipe: Recipe
    tasks: Family
    setup: Setup
    learner: Learner
    seed: int
    device: str
    clock: Clock
    meta_step: OuterStep
    episodes: Episodes
    meta: Params
    optimiser: Any
    validated_by: Mode = "transductive"
    """How the queries of the validation are normalised."""
    step: int = 0
    kept: list[Kept] = field(default_factory=list)
    curve: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in CURVE})
    recent_losses: list[float] = field(default_factory=list)
    team: Team | None = None
    """The processes that make the run together; None for one."""

    @property
    def leads(self) -> bool:
        """Whether this process validates, tests and writes."""
        return self.team is None or self.team.leads

    @property
    def share(self) -> range:
        """The tasks of a meta-batch that this process takes: all of them, but in a run of several processes."""
        count = self.recipe.outer.meta_batch
        return self.team.share(count) if self.team else range(count)

    @property
    def train_s(self) -> float:
        """Seconds of training clock: sampling and outer steps, warm-up included."""
        return self.clock.total_s("sample", "outer_step")

    def diverged(self) -> bool:
        """Whether the last outer loss was not a number."""
        return bool(self.recent_losses) and not math.isfinite(self.recent_losses[-1])
