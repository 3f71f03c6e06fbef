"""One evaluation batch under any schedule."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from maml_bench.core.evaluate import evaluate, population
from maml_bench.core.normalisation import Mode, Moments, refuse_unknowing
from maml_bench.core.setup import Setup
from maml_bench.engine.execution import Execution
from maml_bench.types import Episode, Params


class Scorer:
    """Scores of test tasks, as core.evaluate defines them, for a setup under an execution.

    An evaluation is recorded like a meta-step, but it is never compiled, since it runs a few times only.
    """

    def __init__(self, setup: Setup, execution: Execution) -> None:
        self._setup, self._execution = setup, execution
        self._recordings: dict[tuple[int, tuple[int, ...]], Callable[..., Any]] = {}

    def scores(
        self,
        meta: Params | Sequence[Params],
        episodes: Episode,
        steps: Sequence[int],
        way: int | None = None,
        *,
        mode: Mode = "transductive",
        moments: Sequence[Sequence[Moments]] = (),
    ) -> Tensor:
        """Scores ``[B, len(steps)]`` as of ``core.evaluate.evaluate``.

        ``way`` is the number of classes of these tasks, if it is not that of training. Modes other than
        ``transductive`` run operation by operation on the plain network, whose layers ask for the statistics.

        Raises:
            MamlBenchError: a layer of the network does not know the statistics that ``mode`` needs.
        """
        execution = self._execution
        if mode != "transductive":
            refuse_unknowing(execution.plain.model, mode)
            plain, how = execution.plain.with_way(way or execution.plain.way), execution.mapping
            return evaluate(self._setup, plain, meta, episodes, steps, schedule_name=how, mode=mode, moments=moments)
        wanted = (way or execution.plain.way, tuple(steps))

        def run(models: tuple[Params, ...], episodes: Episode) -> Tensor:
            learner = execution.learner.with_way(wanted[0])
            return evaluate(self._setup, learner, models, episodes, wanted[1], schedule_name=execution.mapping)

        models = (meta,) if isinstance(meta, dict) else tuple(meta)
        if wanted not in self._recordings:
            self._recordings[wanted] = execution.record(run)
        laid_out = tuple(execution.laid_out(model) for model in models) if execution.recorded else models
        return self._recordings[wanted](laid_out, episodes)  # type: ignore[no-any-return]

    def population(
        self, meta: Params, supports: Any, steps: Sequence[int], way: int | None = None, *, chunk: int | None = None
    ) -> list[Moments]:
        """As ``core.evaluate.population``, for the mode ``running`` of ``scores``."""
        plain, how = self._execution.plain, self._execution.mapping
        learner = plain.with_way(way or plain.way)
        return population(self._setup, learner, meta, supports, steps, schedule_name=how, chunk=chunk)
