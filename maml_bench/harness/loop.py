"""The training loop: sample, meta-gradient, outer optimiser; validation and checkpoints off the training clock."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from maml_bench.core.evaluate import Request
from maml_bench.core.outer import take
from maml_bench.harness.recipe import Test
from maml_bench.harness.run_state import KEEP, Observer, RunState
from maml_bench.harness.seeding import global_draws, stream_key
from maml_bench.record import mean_ci95
from maml_bench.trees import leaves
from maml_bench.types import Episode, Params, Shape

WARM_UP_STEPS = 5
STATISTICS_TASKS = 100
"""Training tasks whose statistics the mode ``running`` averages."""


def train(run: RunState, observer: Observer, stop: Callable[[], bool], after_step: Callable[[], None]) -> None:
    """Go on until the budget is done, ``stop()`` says so, or the loss is no longer finite; ``run`` is changed in place.

    ``after_step`` is called between steps, off the training clock: the place for checkpoints.
    """
    outer = run.recipe.outer
    if run.step == 0 and not run.curve["step"]:
        validate(run, observer)
    episodes = _training_episodes(run)
    recorded = not run.meta_step.execution.recorded
    while run.step < outer.steps and not stop():
        batch = next(episodes)
        if not recorded:  # a step is pure: the first one is thrown away, and what it costs to record it kept apart
            with _draws_of_step(run), run.clock.measure("compile"):
                run.meta_step(run.meta, run.optimiser, batch, run.step, outer.rate_at(run.step))
            recorded = True
        with _draws_of_step(run), run.clock.measure("outer_step"):
            run.meta, run.optimiser, losses = run.meta_step(
                run.meta, run.optimiser, batch, run.step, outer.rate_at(run.step)
            )
            loss = float(losses.mean())
        run.step += 1
        run.recent_losses.append(loss)
        observer.stepped(run.step, loss)
        if run.diverged():
            return
        if run.step % run.recipe.validation.every == 0 or run.step == outer.steps:
            validate(run, observer)
        after_step()


def validate(run: RunState, observer: Observer) -> None:
    """Add a point to the learning curve from the validation split. Of several processes, the first one does it."""
    if not run.leads:
        return
    wanted = run.recipe.validation
    curve = run.curve
    losses, run.recent_losses = run.recent_losses, []
    mean = ci95 = math.nan
    nonfinite = 0
    if wanted.episodes:
        with run.clock.measure("validate"):
            scores = score(run, "validation", wanted.shape, wanted.episodes, (wanted.inner_steps,))
        mean, ci95 = mean_ci95(scores[0])
        nonfinite = sum(not math.isfinite(value) for value in scores[0])
        observer.validated(run.step, mean)
        if nonfinite and not any(curve["validation_nonfinite"]):
            observer.said(
                f"validation at step {run.step:,}: the score of {nonfinite:,} of {wanted.episodes:,} tasks is not "
                "finite. The mean leaves them out, and a validation without such tasks counts as better"
            )
    curve["step"].append(run.step)
    curve["seconds"].append(round(run.train_s, 4))
    for name, count in run.episodes.counts().items():
        curve.setdefault(name, []).append(count)
    curve["train_loss"].append(_or_none(sum(losses) / len(losses)) if losses else None)
    curve["validation"].append(_or_none(mean))
    curve["validation_ci95"].append(_or_none(ci95))
    curve["validation_nonfinite"].append(nonfinite)
    if run.step and math.isfinite(mean):
        _keep(run, mean)


def _keep(run: RunState, mean: float) -> None:
    """Remember the present meta-parameters if few have validated better; of equal ones the earlier stays."""
    nonfinite = dict(zip(run.curve["step"], run.curve["validation_nonfinite"], strict=True))
    run.kept.append((mean, run.step, {name: p.clone() for name, p in run.meta.items()}))
    run.kept = sorted(run.kept, key=lambda kept: (run.tasks.metric.order(kept[0], nonfinite[kept[1]] or 0), kept[1]))[
        :KEEP
    ]


def score(run: RunState, split: str, shape: Shape, episodes: int, steps: tuple[int, ...]) -> list[list[float]]:
    """The scores of the present meta-parameters on the first ``episodes`` tasks of ``split``: a list per number of
    inner steps."""
    with global_draws(f"scoring on {split}", run.seed, run.device):
        wanted = Request(split, shape, episodes, steps, scoring_key(run, split), run.validated_by)
        return run.episodes.scores((run.meta,), wanted)


def score_test(
    run: RunState,
    test: Test,
    models: Sequence[Params],
    tasks: int | None = None,
    after_tasks: Callable[[int], None] = lambda done: None,
) -> list[list[float]]:
    """As `score`, of ``models`` together on ``test``, normalised as it asks; ``tasks`` for fewer than it has."""
    moments = []
    if test.normalisation == "running":
        count = min(STATISTICS_TASKS, tasks or STATISTICS_TASKS)
        key = stream_key("statistics", run.seed)
        with global_draws("statistics", run.seed, run.device):
            moments = [run.episodes.statistics(meta, test.shape, count, test.inner_steps, key=key) for meta in models]
    wanted = (test.split, test.shape, tasks or test.episodes, test.inner_steps)
    request = Request(*wanted, scoring_key(run, test.split), test.normalisation, moments)
    with global_draws(f"scoring on {test.split}", run.seed, run.device):
        return run.episodes.scores(models, request, after_tasks)


def scoring_key(run: RunState, split: str) -> int:
    """The key of the tasks of ``split`` that a run is scored on."""
    return stream_key("test" if split == "test" else "validate", run.seed)


def _training_episodes(run: RunState) -> Iterator[Episode]:
    """Meta-batches from the present step on, drawn many steps at once where they are small.

    Each of several processes draws its share of every meta-batch, and one step at a time.
    """
    shape, count, share = run.recipe.train.shape, run.recipe.outer.meta_batch, run.share
    key = stream_key("train", run.seed)
    steps_at_once = 1
    step = run.step
    while True:
        drawing = global_draws(f"episodes of meta-step {step}", run.seed, run.device)
        with drawing, run.clock.measure("sample"), run.clock.parts() as measure:
            first, drawn = step * count + share.start, (steps_at_once - 1) * count + len(share)
            block = run.episodes.draw(run.meta, "train", first, drawn, key=key, shape=shape, measure=measure)
        for i in range(steps_at_once):
            yield take(block, slice(i * count, i * count + len(share)))
        step += steps_at_once
        size = sum(t.numel() * t.element_size() for t in leaves(block)) // steps_at_once
        steps_at_once = 1 if run.team else run.episodes.steps_at_once(size)


def _draws_of_step(run: RunState) -> AbstractContextManager[None]:
    """What the setup or the network draws from torch's global generators in the present meta-step."""
    return global_draws(f"meta-step {run.step}", run.seed, run.device)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
