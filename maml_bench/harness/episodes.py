"""Where the episodes of a run come from, and how they are scored.

`Episodes` is what the rest of the harness knows. `LabelledEpisodes` is for tasks whose examples lie ready;
rl.episodes.CollectedEpisodes is for tasks of reinforcement learning. harness.build chooses between them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from maml_bench.core.evaluate import Request, answer
from maml_bench.core.learner import Learner
from maml_bench.core.normalisation import Mode, Moments
from maml_bench.core.outer import take
from maml_bench.core.setup import Capability, Setup
from maml_bench.data.episodes import in_random_order
from maml_bench.engine.scoring import Scorer
from maml_bench.trees import leaves
from maml_bench.types import Batch, Episode, Params, Shape, Stream, TaskDistribution

SAMPLE_BYTES = {"cpu": 2**24, "cuda": 2**28}
SAMPLE_STEPS = 64
CHUNK_ELEMENTS = {"cpu": 2**18, "cuda": 2**26}
"""A CPU works best on what its cache holds, a GPU on what keeps all of it busy."""
EXHIBIT_STEPS = (0, 1, 10)

Measure = Callable[[str], AbstractContextManager[None]]
"""A context that keeps the seconds of a block under a name."""


class Episodes(Protocol):
    """Episodes of a run's tasks, drawn and scored for meta-parameters that are passed in."""

    def draw(
        self,
        meta: Params,
        split: str,
        first: int,
        count: int,
        *,
        key: int,
        shape: Shape,
        measure: Measure | None = None,
    ) -> Episode:
        """Episodes ``first`` to ``first + count - 1`` of ``split``."""
        ...

    def steps_at_once(self, step_bytes: int) -> int:
        """How many meta-batches of ``step_bytes`` are drawn together."""
        ...

    def counts(self) -> dict[str, int]:
        """What the training episodes have cost so far besides seconds, by the name of the learning curve's column."""
        ...

    def restore(self, counts: dict[str, int]) -> None:
        """Go on from the ``counts`` of a checkpoint."""
        ...

    def scores(
        self,
        models: Sequence[Params],
        request: Request,
        after_tasks: Callable[[int], None] = lambda done: None,
    ) -> list[list[float]]:
        """The scores of ``request``: one list of values per number of inner steps.

        ``models`` are scored together, as one ensemble. ``after_tasks`` is told now and then how many tasks are done.
        """
        ...

    def statistics(
        self, model: Params, shape: Shape, episodes: int, steps: tuple[int, ...], *, key: int
    ) -> list[Moments]:
        """What core.evaluate.population finds for ``model`` on the supports of that many training tasks."""
        ...

    def best(self, split: str, episodes: int, key: int) -> list[float]:
        """The best expected score of each of the first tasks of ``split``; empty where the family does not know it."""
        ...

    def exhibit(self, meta: Params, test: Any, key: int) -> dict[str, Any] | None:
        """What the family shows in a figure of its own, with these meta-parameters; None if it has none."""
        ...


class LabelledEpisodes:
    """Episodes of tasks whose examples do not depend on who learns from them.

    Args:
        tasks: the family.
        setup: the method.
        learner: the network and its losses.
        scorer: evaluation under the schedule of the run.
        device: where the tensors will be.
        as_at_test: the family with the labels of tests, for setups that train with others.
    """

    def __init__(
        self,
        tasks: TaskDistribution,
        setup: Setup,
        learner: Learner,
        scorer: Scorer,
        device: str,
        as_at_test: TaskDistribution | None = None,
    ) -> None:
        self._tasks, self._setup, self._learner, self._scorer = tasks, setup, learner, scorer
        self._device, self._as_at_test = device, as_at_test or tasks

    def draw(
        self,
        meta: Params,
        split: str,
        first: int,
        count: int,
        *,
        key: int,
        shape: Shape,
        measure: Measure | None = None,
    ) -> Episode:
        drawn = self._tasks.sample(split, first, count, key=key, shape=shape, device=self._device)
        if split == "train" and Capability.READS_IN_ORDER in self._setup.capabilities:
            return drawn if isinstance(drawn.support, Stream) else _mixed(drawn, first, key)
        return drawn

    def steps_at_once(self, step_bytes: int) -> int:
        return max(1, min(SAMPLE_STEPS, SAMPLE_BYTES[_kind(self._device)] // step_bytes))

    def counts(self) -> dict[str, int]:
        return {}

    def restore(self, counts: dict[str, int]) -> None:
        """Nothing is counted."""

    def scores(
        self,
        models: Sequence[Params],
        request: Request,
        after_tasks: Callable[[int], None] = lambda done: None,
    ) -> list[list[float]]:
        split, shape, episodes, steps, key, mode, moments = request
        values: list[list[float]] = [[] for _ in steps]
        one = self._tasks.sample(split, 0, 1, key=key, shape=shape, device=self._device)
        at_once = self._chunk(len(models) * _shown(one, mode), episodes)
        for first in range(0, episodes, at_once):
            count = min(at_once, episodes - first)
            batch = self._tasks.sample(split, first, count, key=key, shape=shape, device=self._device)
            scores = self._scorer.scores(models, batch, steps, shape.way, mode=mode, moments=moments)
            for column, found in zip(values, scores.T.tolist(), strict=True):
                column.extend(found)
            after_tasks(len(values[0]))
        return values

    def statistics(
        self, model: Params, shape: Shape, episodes: int, steps: tuple[int, ...], *, key: int
    ) -> list[Moments]:
        shape = shape._replace(query=0)
        drawn = self._as_at_test.sample("train", 0, episodes, key=key, shape=shape, device=self._device)
        at_once = self._chunk(_elements(drawn.support) // episodes, episodes)
        return self._scorer.population(model, drawn.support, steps, shape.way, chunk=at_once)

    def best(self, split: str, episodes: int, key: int) -> list[float]:
        return []

    def exhibit(self, meta: Params, test: Any, key: int) -> dict[str, Any] | None:
        show = getattr(self._tasks, "exhibit", None)
        if show is None:
            return None

        def answers(x: Tensor, support: Batch, shape: Shape, *, draw: bool = False) -> dict[int, Tensor]:
            inputs, *one = (take(tensor, 0).to(self._device) for tensor in (x, *support))
            steps = (self._learner.inner.steps,) if draw else EXHIBIT_STEPS
            return answer(self._setup, self._learner, meta, Batch(*one), inputs, steps, draw=draw)

        return show(answers)  # type: ignore[no-any-return]

    def _chunk(self, elements: int, episodes: int) -> int:
        """How many tasks are evaluated at once: as many as fill a chunk of inputs, all chunks alike if that can be."""
        most = max(1, CHUNK_ELEMENTS[_kind(self._device)] // elements)
        whole = next(size for size in range(min(most, episodes), 0, -1) if episodes % size == 0)
        return whole if 2 * whole >= most else most


def _mixed(episodes: Episode, first: int, key: int) -> Episode:
    """The same examples, those of support and query together in random order. In rounds of all classes, whose order
    the sampler keeps, a label could be guessed from the labels of its round without a look at the example."""
    whole = Batch(*(torch.cat(pair, dim=1) for pair in zip(*episodes, strict=True)))
    k = episodes.support.y.shape[1]
    support, query = zip(*((t[:, :k], t[:, k:]) for t in in_random_order(whole, first, key=key)), strict=True)
    return Episode(Batch(*support), Batch(*query))


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _shown(one_task: Episode, mode: Mode) -> int:
    """How many elements the network is shown at the test of a task."""
    support, query = _elements(one_task.support), _elements(one_task.query)
    return query + support * (one_task.query.x.shape[1] if mode == "one by one" else 1)


def _elements(tree: Any) -> int:
    return sum(int(t.numel()) for t in leaves(tree))
