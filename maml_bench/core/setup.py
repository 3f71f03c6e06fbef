"""What a setup is: a way to predict the query from the support, and how it is trained.

A setup is a frozen dataclass of hyperparameters. ``adapt`` makes a task's state from its support, and ``predict``
computes outputs from that state. By default the meta-gradient is that of the query loss through both.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from maml_bench.core.learner import Inner, Learner
from maml_bench.declared import check_bounds
from maml_bench.errors import MamlBenchError
from maml_bench.types import Episode, Params


class Capability(Enum):
    """What a setup can do, and what it needs of the tasks and of the training on them."""

    TRAINS = "it has meta-training"
    NEEDS_QUERY = "its meta-training uses the query set"
    CLASSIFIES = "it compares classes, so it needs tasks with labels 0 to way - 1"
    TRAINS_JOINTLY = (
        "it trains one classifier: training examples are labelled by their class among all training classes"
    )
    NEEDS_IDENTITY = "it is told which task it faces, as a part of the input"
    NEEDS_POOL = "it needs the same training tasks again at every meta-step, all of them in one meta-batch"
    READS_IN_ORDER = "it predicts each training example from those before it, so they come in random order"
    IS_DENSITY = "it is a density of its own, so it needs tasks that are scored by one"
    ACTS = "it can act: it takes gradient steps on a support, or it carries a memory through the rollouts of a task"
    REMEMBERS = "it acts by a memory, without gradients, so it is told its last action and reward"
    OWN_NETWORK = "it never asks the network of the tasks: it has one of its own, or none"
    OWN_OUTER_LOSS = "its outer loss is its own in reinforcement learning, so it does not read `outer.estimator`"
    ACTS_ONLY = "it differs from another setup only in reinforcement learning"


RULE_KEYS = frozenset({"rate", "steps", "reduction", "outside", "later_rate", "norm"})
"""The `inner_keys` of setups that take the steps of `Inner.rule`."""

OverTasks = Callable[[Callable[[Any], Any], Any], Any]
"""Map a function of one task over a tree with leading task axes; results come back stacked along a leading axis."""


@dataclass(frozen=True)
class Setup(ABC):
    """Base of all setups. Each setup must define ``adapt``; the other methods have defaults.

    ``capabilities`` says what the setup can do and what it needs of the tasks. ``inner_keys`` are the keys of the
    recipe section ``inner`` that it reads (fields of core.learner.Inner); the others are refused. In reinforcement
    learning, ``estimator`` is read where ``rate`` is, and ``steps`` always: it is how often a support is collected.
    ``families`` are the names of the task families that the setup is for, empty where it is for all that it fits.
    ``maml-bench list`` shows ``citation``. A setup with a ``__post_init__`` calls the one of this class too.

    Raises:
        MamlBenchError: a numeric option is outside of the bounds that its field is declared with.
    """

    citation: ClassVar[str] = ""
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.TRAINS, Capability.NEEDS_QUERY})
    inner_keys: ClassVar[frozenset[str]] = frozenset({"rate", "steps", "reduction", "outside"})
    families: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def pool(self) -> int:
        """Number of tasks in the pool of a setup that NEEDS_POOL; 0 for every other setup."""
        return 0

    @property
    def network_per_task(self) -> bool:
        """Whether each test task starts from a network of its own, in reinforcement learning."""
        return False

    def unread(self, inner: Inner, *, acting: bool) -> dict[str, str]:
        """The keys of this setup that have no effect with the section ``inner`` of the recipe, each with the reason.

        ``acting`` says whether the tasks are of reinforcement learning.
        """
        return {}

    def asks_query(self) -> bool:
        """Whether training with these options uses the query set."""
        return Capability.NEEDS_QUERY in self.capabilities

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        """Meta-parameters before training; default: the network's own initialisation."""
        return learner.initial()

    @abstractmethod
    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        """The state of one task after 0, 1, ..., ``steps`` inner steps.

        A setup whose state does not depend on the number of steps, so that ``steps`` is not in its ``inner_keys``,
        returns only one.
        """

    def states(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        """What ``adapt`` returns.

        Raises:
            MamlBenchError: it is not a list of one state for each number of steps.
        """
        found = self.adapt(learner, meta, support, steps)
        reads = "steps" in self.inner_keys
        if isinstance(found, list | tuple) and (len(found) == steps + 1 or (len(found) == 1 and not reads)):
            return list(found)
        what = f"a list of {len(found)}" if isinstance(found, list | tuple) else f"a {type(found).__name__}"
        code = type(self).adapt.__code__
        raise MamlBenchError(
            f"{Path(code.co_filename).name}, line {code.co_firstlineno}: adapt of the setup {type(self).__name__} "
            f"returned {what} with steps={steps}: it must return a list of the state before the first step and those "
            f"after each step, {steps + 1} in all, or of one state if inner_keys is without 'steps'"
        )

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        """Outputs for inputs ``x [examples, ...]`` of the task that ``state`` belongs to."""
        return learner.apply(state, x)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Class probabilities ``[examples, way]`` from outputs of ``predict``, which are logits by default."""
        return outputs.softmax(-1)

    def draw(self, learner: Learner, meta: Params, state: Params, noise: Tensor) -> Tensor:
        """New examples of the task that ``state`` belongs to, where outputs are densities; see Learner.draw."""
        return learner.draw(state, noise)

    def outer_problem(self, learner: Learner, meta: Params, episode: Episode) -> tuple[Params, Any]:
        """The state and the batch of one task that the outer loss is computed from: by default the state after the
        recipe's number of inner steps, and the query."""
        return self.states(learner, meta, episode.support, learner.inner.steps)[-1], episode.query

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        """Outer loss of one task, the mean over its examples."""
        state, batch = self.outer_problem(learner, meta, episode)
        return learner.outer_loss(lambda x: self.predict(learner, meta, state, x), batch)

    def gradient(
        self, learner: Learner, meta: Params, episodes: Episode, over_tasks: OverTasks
    ) -> tuple[Params, Tensor]:
        """Meta-gradient averaged over the tasks of ``episodes``, and the outer loss of each task ``[B]``."""

        def mean_loss(meta: Params) -> tuple[Tensor, Tensor]:
            losses = over_tasks(partial(self.loss, learner, meta), episodes)
            return losses.mean(), losses.detach()

        return torch.func.grad(mean_loss, has_aux=True)(meta)  # type: ignore[no-any-return]
