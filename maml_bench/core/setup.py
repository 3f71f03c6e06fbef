"""What a setup is: a way to predict the query from the support, and how it is trained.

A setup is a frozen dataclass of hyperparameters. ``adapt`` makes a task's state from its support, ``predict`` answers
inputs from that state; the meta-gradient is, unless a setup says otherwise, that of the query loss through both.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.types import Episode, Params

OverTasks = Callable[[Callable[[Any], Any], Any], Any]
"""Map a function of one task over a tree with leading task axes; results come back stacked along a leading axis."""


@dataclass(frozen=True)
class Setup(ABC):
    """Base of all setups; ``adapt`` is the one method that each must bring.

    ``trains`` is False for a setup without meta-training, ``needs_query`` for one whose training uses no query set.
    ``reveals`` asks the task distribution to give the task's identity as part of the input (an oracle), ``joint`` to
    label training examples by their class among all training classes (one classifier for all). ``classifies`` marks a
    setup that compares classes, so that it needs tasks with labels 0 to way - 1, ``acts`` one that can act: it does no
    more with a support than take gradient steps on it; ``only_acts`` one that is nothing of its own elsewhere.
    ``citation`` stands in ``maml-bench list``.
    """

    citation: ClassVar[str] = ""
    trains: ClassVar[bool] = True
    reveals: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    classifies: ClassVar[bool] = False
    acts: ClassVar[bool] = False
    only_acts: ClassVar[bool] = False
    needs_query: ClassVar[bool] = True

    @property
    def pool(self) -> int:
        """Size of the fixed pool of training tasks that the setup needs, all of them in each meta-batch; 0 for none."""
        return 0

    def asks_query(self) -> bool:
        """Whether training with these options uses the query set."""
        return self.needs_query

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        """Meta-parameters before training; default: the network's own initialisation."""
        return learner.initial()

    @abstractmethod
    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        """The state of one task after 0, 1, ..., ``steps`` inner steps; one element only where steps mean nothing."""

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        """Outputs for inputs ``x [examples, ...]`` of the task that ``state`` belongs to."""
        return learner.apply(state, x)

    def judged(self, learner: Learner, meta: Params, episode: Episode) -> tuple[Params, Any]:
        """What the outer loss of one task is about: the state that answers, by default as adapted with the recipe's
        number of inner steps, and the batch that asks, by default the query."""
        return self.adapt(learner, meta, episode.support, learner.inner.steps)[-1], episode.query

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        """Outer loss of one task, the mean over its examples."""
        state, batch = self.judged(learner, meta, episode)
        return learner.outer_loss(lambda x: self.predict(learner, meta, state, x), batch)

    def gradient(
        self, learner: Learner, meta: Params, episodes: Episode, over_tasks: OverTasks
    ) -> tuple[Params, Tensor]:
        """Meta-gradient averaged over the tasks of ``episodes``, and the outer loss of each task ``[B]``."""

        def loss(meta: Params, episode: Episode) -> tuple[Tensor, tuple[()]]:
            return self.loss(learner, meta, episode), ()

        gradient, losses, _ = mean_gradient(loss, meta, episodes, over_tasks)
        return gradient, losses


def mean_gradient(
    loss: Callable[[Params, Episode], tuple[Tensor, Any]], meta: Params, episodes: Episode, over_tasks: OverTasks
) -> tuple[Params, Tensor, Any]:
    """The gradient of the mean over tasks of a loss that brings tensors along, the losses ``[B]``, and the rest."""

    def mean_loss(meta: Params) -> tuple[Tensor, tuple[Tensor, Any]]:
        losses, brought = over_tasks(lambda episode: loss(meta, episode), episodes)
        return losses.mean(), (losses.detach(), brought)

    gradient, (losses, brought) = torch.func.grad(mean_loss, has_aux=True)(meta)
    return gradient, losses, brought
