"""Episodes of reinforcement learning, which the setup collects with its current meta-parameters."""

from collections.abc import Callable, Sequence
from typing import Any

from maml_bench.core.evaluate import Request
from maml_bench.core.normalisation import Moments
from maml_bench.core.outer import take
from maml_bench.errors import MamlBenchError
from maml_bench.rl.actor import Actors, Measure, unmeasured
from maml_bench.rl.protocol import Acting, Actor
from maml_bench.types import Episode, Params, Shape

EXHIBIT_TASKS = 4
AT_ONCE_ELEMENTS = 2**28
"""Elements of the observations that are collected at once in a test."""


class CollectedEpisodes:
    """See harness.episodes.Episodes. Scores belong to the rollouts after each number of inner steps.

    Args:
        tasks: the family.
        actors: the functions that act.
        device: where the tensors will be.
        networks: the initial meta-parameters ``[B, ...]`` of B test tasks, for setups that draw them for each task.
    """

    def __init__(
        self,
        tasks: Acting,
        actors: Actors,
        device: str,
        networks: Callable[[int], Params] | None = None,
    ) -> None:
        self._tasks, self._actors, self._device, self._networks = tasks, actors, device, networks
        self._steps_taken = 0

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
        """Episodes of ``split``. Environment steps are counted only with ``measure``, which only training passes."""
        actor = self.actor(meta, measure)
        found = self._tasks.sample(split, first, count, key=key, shape=shape, actor=actor, device=self._device)
        if measure:
            self._steps_taken += self._tasks.steps_in(found)
        return found

    def actor(self, meta: Params, measure: Measure | None = None) -> Actor:
        """The setup as an actor at ``meta``; ``measure`` keeps the seconds of a block under a name."""
        return self._actors.actor(meta, measure or unmeasured)

    def steps_at_once(self, step_bytes: int) -> int:
        """One, because the next meta-batch is collected with the meta-parameters after this step."""
        return 1

    def counts(self) -> dict[str, int]:
        """The number of environment steps."""
        return {"env_steps": self._steps_taken}

    def restore(self, counts: dict[str, int]) -> None:
        self._steps_taken = counts["env_steps"]

    def scores(
        self,
        models: Sequence[Params],
        request: Request,
        after_tasks: Callable[[int], None] = lambda done: None,
    ) -> list[list[float]]:
        """Mean returns of the rollouts after each number of inner steps; each step is taken on those before it."""
        split, shape, episodes, steps, key, *_ = request
        values: list[list[float]] = [[] for _ in steps]
        elements = self._tasks.longest() * self._tasks.inputs() * (max(steps) * shape.shot + shape.query)
        at_once = max(1, AT_ONCE_ELEMENTS // elements)
        for first in range(0, episodes, at_once):
            tasks = range(first, min(first + at_once, episodes))
            path = self._path(models[0], split, shape, tasks, max(steps), key)
            for column, count in zip(values, steps, strict=True):
                column.extend(self._tasks.score(lambda x: x, path[count]).tolist())
            after_tasks(tasks.stop)
        return values

    def statistics(
        self, model: Params, shape: Shape, episodes: int, steps: tuple[int, ...], *, key: int
    ) -> list[Moments]:
        """Refused, because policies have no normalisation.

        Raises:
            MamlBenchError: always.
        """
        raise MamlBenchError("the normalisation 'running' is for networks with batch normalisation; policies have none")

    def best(self, split: str, episodes: int, key: int) -> list[float]:
        """The best expected score of each task, where the family knows it."""
        return self._tasks.best_scores(split, 0, episodes, key)

    def exhibit(self, meta: Params, test: Any, key: int) -> dict[str, Any] | None:
        """The data of the family's figure of its first test tasks, or None."""
        path = self._path(meta, test.split, test.shape, range(EXHIBIT_TASKS), max(test.inner_steps), key)
        return self._tasks.exhibit_path(path)

    def _path(self, meta: Params, split: str, shape: Shape, tasks: range, steps: int, key: int) -> list[Any]:
        rollouts = [shape.shot] * steps + [shape.query]
        own = take(self._networks(tasks.stop), slice(tasks.start, None)) if self._networks else None
        actor = self._actors.actor(meta, own=own)
        return self._tasks.path(
            split, tasks.start, len(tasks), key=key, rollouts=rollouts, actor=actor, device=self._device
        )
