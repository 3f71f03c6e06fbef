"""The tests of a run: which meta-parameters, normalised by what, scored on which tasks; Evaluations for the record."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from maml_bench.harness.loop import score_test, scoring_key
from maml_bench.harness.recipe import Test
from maml_bench.harness.run_state import Observer, RunState
from maml_bench.harness.seeding import global_draws, stream_key
from maml_bench.record import Evaluation, Point
from maml_bench.types import Params

Model = tuple[int | None, Params]
"""The outer steps behind meta-parameters, where they are known, and the meta-parameters."""


class Stopped(Exception):
    """The person at the terminal wants no more tests."""


def evaluations(
    run: RunState,
    tests: Iterable[Test],
    observer: Observer,
    interrupted: Callable[[], bool] = lambda: False,
    *,
    given: Sequence[Model] = (),
) -> list[Evaluation]:
    """Take ``tests``, with the checkpoints of the run or with the models that are ``given``.

    Raises:
        Stopped: ``interrupted()`` became true meanwhile.
    """
    done = []
    for test in tests:
        checkpoint = ("ensemble" if len(given) > 1 else "given") if given else test.checkpoint
        models = list(given) or _models(run, checkpoint)
        words = [f"testing on {test.episodes:,} tasks, {test.way}-way {test.shot}-shot, {test.query} query"]
        words += [test.normalisation] if test.normalisation != "transductive" else []
        words += [checkpoint] if checkpoint in ("selected", "ensemble") else []
        observer.said(", ".join(words))
        steps = [step for step, _ in models if step is not None]
        with run.clock.measure("evaluate"):
            points = _points(run, test, [meta for _, meta in models], observer, interrupted)
        named = (test.normalisation, checkpoint, steps)
        best = run.episodes.best(test.split, test.episodes, scoring_key(run, test.split))
        done.append(Evaluation(test.protocol, test.split, *test.shape, test.episodes, points, *named, best))
    return done


def has(found: Sequence[Evaluation], test: Test) -> bool:
    """Whether ``test`` is among the evaluations of a record."""
    return any(same(e, test) and {p.inner_steps for p in e.points} >= set(test.inner_steps) for e in found)


def same(evaluation: Evaluation, test: Test | Evaluation) -> bool:
    """Whether the two are one test, but perhaps for the numbers of inner steps."""
    names = ("protocol", "split", "way", "shot", "query", "episodes", "normalisation", "checkpoint")
    return all(getattr(evaluation, name) == getattr(test, name) for name in names)


def joined(old: Iterable[Evaluation], new: Sequence[Evaluation]) -> list[Evaluation]:
    """The ``old`` evaluations, as far as they are not taken again, and the ``new``."""
    return [e for e in old if not any(same(e, other) for other in new)] + list(new)


def exhibit(run: RunState) -> dict[str, Any] | None:
    """What the family of tasks shows in a figure of its own, with the last meta-parameters."""
    if not run.recipe.test:
        return None
    with global_draws("exhibit", run.seed, run.device):
        return run.episodes.exhibit(run.meta, run.recipe.test[0], stream_key("test", run.seed))


def _models(run: RunState, checkpoint: str) -> list[Model]:
    """The meta-parameters that ``checkpoint`` means; the last where validation has selected none."""
    kept: list[Model] = [(step, meta) for _, step, meta in run.kept]
    chosen = {"selected": kept[:1], "ensemble": kept}.get(checkpoint)
    return chosen or [(run.step, run.meta)]


def _points(
    run: RunState, test: Test, models: list[Params], observer: Observer, interrupted: Callable[[], bool]
) -> list[Point]:
    # As they would be read from a file, so that weights that were saved give the same scores to the bit.
    models = [{name: p.contiguous() for name, p in meta.items()} for meta in models]

    def after_tasks(done: int) -> None:
        observer.tested(done, test.episodes)
        if interrupted():
            raise Stopped

    columns = score_test(run, test, models, after_tasks=after_tasks)
    return [Point.of(k, column, run.tasks.metric) for k, column in zip(test.inner_steps, columns, strict=True)]
