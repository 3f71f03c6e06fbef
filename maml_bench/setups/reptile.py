"""Reptile. Nichol, Achiam & Schulman (2018), "On First-Order Meta-Learning Algorithms", arXiv:1803.02999,
Algorithm 2."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.checked import later
from maml_bench.core.inner import SGD, Adam, Update
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, OverTasks, Setup
from maml_bench.declared import AT_ONCE
from maml_bench.types import Batch, Episode, Params


@dataclass(frozen=True)
class Reptile(Setup):
    """Train on a task for some steps, then move the initial parameters towards the result.

    In training, support and query are one set. Each inner step takes its next ``inner_batch`` examples, and starts
    again when they run out. The meta-gradient is theta - phi, so plain SGD with the paper's meta-step size as its rate
    is the paper's update. ``inner_optimiser = "adam"`` is the paper's, with beta1 = 0. The released code carries Adam's
    second moments from task to task; here they start at zero. At test a step takes the next ``test_batch`` examples of
    the support, or all of them if it is 0.
    """

    inner_batch: Annotated[int, Ge(1), AT_ONCE, Doc("Examples in an inner step of training.")] = 10
    inner_optimiser: Annotated[Literal["adam", "sgd"], Doc("Optimiser of the inner loop.")] = "adam"
    test_batch: Annotated[int, Ge(0), AT_ONCE, Doc("Examples in an inner step at test, 0 for all of the support.")] = (
        later(0)
    )

    citation: ClassVar[str] = "Nichol et al. 2018, arXiv:1803.02999"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.TRAINS})

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        size = self.test_batch
        batches = [_window(support, i * size, size) for i in range(steps)] if size else support
        return learner.adapt(meta, batches, self._update(learner), steps, first_order=True)

    def gradient(
        self, learner: Learner, meta: Params, episodes: Episode, over_tasks: OverTasks
    ) -> tuple[Params, Tensor]:
        def displacement(episode: Episode) -> tuple[Params, Tensor]:
            pool = Batch(*(torch.cat(pair) for pair in zip(episode.support, episode.query, strict=True)))
            batches = [_window(pool, i * self.inner_batch, self.inner_batch) for i in range(learner.inner.steps)]
            phi = learner.adapt(meta, batches, self._update(learner), learner.inner.steps, first_order=True)[-1]
            return {n: p - phi[n] if n in phi else torch.zeros_like(p) for n, p in meta.items()}, learner.batch_loss(
                phi, pool
            )

        with torch.no_grad():
            displacements, losses = over_tasks(displacement, episodes)
        return {name: d.mean(0) for name, d in displacements.items()}, losses

    def _update(self, learner: Learner) -> Update:
        return SGD(learner.inner.rate) if self.inner_optimiser == "sgd" else Adam(learner.inner.rate, beta1=0.0)


def _window(pool: Batch, start: int, length: int) -> Batch:
    """``length`` examples of ``pool`` from ``start`` on; after the last example follows the first again."""
    index = torch.arange(start, start + length, device=pool.x.device) % pool.x.shape[0]
    return Batch(pool.x[index], pool.y[index])
