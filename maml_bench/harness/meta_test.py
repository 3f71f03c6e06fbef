"""The tests of a run: which meta-parameters, normalised by what, scored on which tasks; Evaluations for the record."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from maml_bench.core.evaluate import answer
from maml_bench.core.outer import take
from maml_bench.harness.loop import score_test
from maml_bench.harness.recipe import Test
from maml_bench.harness.run_state import Observer, Training, acting
from maml_bench.harness.seeding import stream_key
from maml_bench.record import Evaluation, Point
from maml_bench.types import Batch, Params, Shape

EXHIBIT_STEPS = (0, 1, 10)
EXHIBIT_TASKS = 4

Model = tuple[int | None, Params]
"""The outer steps behind meta-parameters, where they are known, and the meta-parameters."""


class Stopped(Exception):
    """The person at the terminal wants no more tests."""


def evaluations(
    training: Training,
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
        models = list(given) or _models(training, checkpoint)
        words = [f"testing on {test.episodes:,} tasks, {test.way}-way {test.shot}-shot, {test.query} query"]
        words += [test.normalisation] if test.normalisation != "transductive" else []
        words += [checkpoint] if checkpoint in ("selected", "ensemble") else []
        observer.said(", ".join(words))
        steps = [step for step, _ in models if step is not None]
        with training.clock.measure("evaluate"):
            points = _points(training, test, [meta for _, meta in models], observer, interrupted)
        named = (test.normalisation, checkpoint, steps)
        done.append(Evaluation(test.protocol, test.split, *test.shape, test.episodes, points, *named))
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


def exhibit(training: Training) -> dict[str, Any] | None:
    """What the task family shows in a figure of its own, with the last meta-parameters."""
    if acts := acting(training.tasks):
        return _walked(training, acts)
    show = getattr(training.tasks, "exhibit", None)
    if show is None:
        return None

    def answers(x: Tensor, support: Batch, shape: Shape) -> dict[int, Tensor]:
        inputs, *one = (take(tensor, 0).to(training.device) for tensor in (x, *support))
        return answer(training.setup, training.learner, training.meta, Batch(*one), inputs, EXHIBIT_STEPS)

    return show(answers)  # type: ignore[no-any-return]


def _walked(training: Training, tasks: Any) -> dict[str, Any] | None:
    """What a task family shows of its first test tasks, where somebody acts."""
    show = getattr(tasks, "exhibit_path", None)
    if show is None or not training.recipe.test:
        return None
    test = training.recipe.test[0]
    actor = training.body.actor(training.meta, lambda name: nullcontext())
    rollouts = [test.shot] * max(test.inner_steps) + [test.query]
    key = stream_key("test", training.seed)
    path = tasks.path(test.split, 0, EXHIBIT_TASKS, key=key, rollouts=rollouts, actor=actor, device=training.device)
    return show(path)  # type: ignore[no-any-return]


def _models(training: Training, checkpoint: str) -> list[Model]:
    """The meta-parameters that ``checkpoint`` means; the last where validation has selected none."""
    kept: list[Model] = [(step, meta) for _, step, meta in training.kept]
    chosen = {"selected": kept[:1], "ensemble": kept}.get(checkpoint)
    return chosen or [(training.step, training.meta)]


def _points(
    training: Training, test: Test, models: list[Params], observer: Observer, interrupted: Callable[[], bool]
) -> list[Point]:
    # As they would be read from a file, so that weights that were saved give the same scores to the bit.
    models = [{name: p.contiguous() for name, p in meta.items()} for meta in models]

    def after_tasks(done: int) -> None:
        observer.tested(done, test.episodes)
        if interrupted():
            raise Stopped

    columns = score_test(training, test, models, after_tasks=after_tasks)
    return [Point.of(k, column, training.tasks.metric) for k, column in zip(test.inner_steps, columns, strict=True)]
