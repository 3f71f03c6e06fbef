"""The common part of the baselines: one classifier of all training classes, which is adapted to tasks of new classes.

Training is plain supervised learning: the support of a training task is a batch whose labels are classes of the whole
training split (see Capability.TRAINS_JOINTLY), so the batch has ``way * shot`` examples of ``way`` different classes.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.inner import Momentum, adapt
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import AT_ONCE, LARGE
from maml_bench.types import Batch, Episode, Params


@dataclass(frozen=True)
class Classifier(Setup):
    """Base of the setups that train one classifier: the outer loss is its loss on the support, before any adaptation.

    The states that ``adapt`` returns must predict the ``learner.way`` classes of a new task.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.TRAINS, Capability.TRAINS_JOINTLY})

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        return learner.batch_loss(meta, episode.support)


@dataclass(frozen=True)
class FrozenFeatures(Classifier):
    """Base of the setups that freeze the features and train a new last layer on the support.

    A step takes the next ``batch`` examples of the support, or all of them if ``batch`` is 0; after the last example
    follows the first again. ``momentum``, ``dampening`` and ``decay`` are those of core.inner.Momentum.
    """

    batch: Annotated[int, Ge(0), AT_ONCE, Doc("Support examples in each step on the new layer, 0 for all of them.")] = 4
    momentum: Annotated[float, Ge(0), LARGE, Doc("Momentum of the steps on the new layer.")] = 0.9
    dampening: Annotated[float, Ge(0), LARGE, Doc("Dampening of the momentum.")] = 0.9
    decay: Annotated[float, Ge(0), LARGE, Doc("Weight decay of the new layer.")] = 0.001

    inner_keys: ClassVar[frozenset[str]] = frozenset({"rate", "reduction"})

    @abstractmethod
    def start(self, learner: Learner, meta: Params) -> Params:
        """The new layer before its first step."""

    @abstractmethod
    def answer(self, learner: Learner, layer: Params, z: Tensor) -> Tensor:
        """Logits ``[examples, way]`` of the new layer for features ``z [examples, features]``."""

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        features = Batch(learner.embed(meta, support.x), support.y)
        path: list[Params] = adapt(
            lambda layer, batch: learner.scale * learner.loss(lambda z: self.answer(learner, layer, z), batch),
            self.start(learner, meta),
            in_turn(features, self.batch) if self.batch else features,
            Momentum(learner.inner.rate, self.momentum, self.dampening, self.decay),
            steps,
            trajectory=learner.kept,
        )
        return path

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        return self.answer(learner, state, learner.embed(meta, x))


def new_head(learner: Learner, meta: Params) -> Params:
    """The parameters of the network's last layer for ``learner.way`` classes, all zero."""
    return {n: p.new_zeros(learner.way, *p.shape[1:]) for n, p in meta.items() if learner.is_head(n)}


def in_turn(batch: Batch, size: int) -> list[Batch]:
    """One task's examples in batches of ``size``, repeated in order until all have been in equally many batches."""
    rounds = (torch.cat([t] * size).reshape(len(t), size, *t.shape[1:]) for t in batch)
    return [Batch(*part) for part in zip(*rounds, strict=True)]
