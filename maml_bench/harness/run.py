"""From one recipe and one seed to one Record: skip what is done, resume what was begun, train, evaluate, write."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from maml_bench import registry
from maml_bench.core.evaluate import answer
from maml_bench.core.outer import take
from maml_bench.core.step import refuse_unknown
from maml_bench.errors import MamlBenchError
from maml_bench.harness import checkpoint, guard, machine, memory
from maml_bench.harness.begin import begin, rehearse, threads_for
from maml_bench.harness.clock import monotonic_s, now_utc
from maml_bench.harness.recipe import Recipe
from maml_bench.harness.train import Observer, Silent, Training, score, train
from maml_bench.record import Curve, Evaluation, Point, Record, Status, load, relative_path
from maml_bench.types import Batch, Shape

CHECKPOINT_EVERY_S = 30.0
EXHIBIT_STEPS = (0, 1, 10)


@dataclass(frozen=True)
class Options:
    """Where and how to run; nothing here is part of the experiment, all of it stands in the record or cannot matter.

    ``budget_s`` bounds the training clock of this sitting, ``budget_steps`` the outer steps in all; either ends the run
    early at a checkpoint from which the next call goes on. ``force`` starts over and replaces what is there.
    ``threads`` None means all cores, or one for tasks as small as sinusoids. ``schedule`` is auto or one of
    core.step.SCHEDULES, ``chunk`` the number of tasks differentiated at once.
    """

    results: Path = Path("runs")
    device: str = "cpu"
    threads: int | None = None
    schedule: str = "auto"
    chunk: int | None = None
    budget_s: float | None = None
    budget_steps: int | None = None
    force: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a call of ``run`` came to; ``record`` is None where it was interrupted before the end."""

    how: Literal["done", "already there", "interrupted"]
    step: int
    record: Record | None = None
    path: Path | None = None


@dataclass
class _Sitting:
    """What one call adds to a run that may have begun in an earlier one."""

    started_at: str = field(default_factory=now_utc)
    number: int = 1
    peak_memory_bytes: int = 0


def run(
    recipe: Recipe,
    seed: int,
    options: Options | None = None,
    *,
    observer: Observer | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train and evaluate ``recipe`` with ``seed``, and leave a Record below ``options.results``.

    A divergence or a failure inside the run is a Record too. ``interrupted`` is asked after every step; once true, a
    checkpoint is written and the call returns.

    Raises:
        MamlBenchError: the input is at fault, or another process is at work on the same record.
    """
    options = options or Options()
    observer = observer or Silent()
    device = guard.usable_device(options.device)
    if options.schedule != "auto":
        refuse_unknown(options.schedule)
    machine.commit()  # as it is when the run starts; kept for the record
    path = options.results / relative_path(recipe.plain(), recipe.recipe_id, seed, machine.identity(device))
    guard.refuse_unwritable(path)
    with guard.alone(path):
        place = path.with_suffix(".ckpt")
        found = load(path) if path.exists() and not options.force else None
        if found is not None:
            _refuse_unlike(found, path, recipe, options)
            share = (
                options.budget_steps is not None and found.status == "ok" and found.outer_steps >= options.budget_steps
            )
            if (found.whole and not place.exists()) or share:
                return Outcome("already there", found.outer_steps, found, path)
        if options.force:
            place.unlink(missing_ok=True)
        machine.reset_peak_memory(device)
        training = begin(recipe, seed, device, options.schedule, options.chunk)
        rehearse(training)
        threads = options.threads or threads_for(training)
        torch.set_num_threads(threads)
        conditions = {
            "recipe_id": recipe.recipe_id,
            "seed": seed,
            "schedule": training.body.schedule,
            "threads": threads,
            "device": device,
            "machine": machine.identity(device),
            "torch": str(torch.__version__),
            "task_version": training.tasks.version,
            "data": training.tasks.fingerprint(),
        }
        sitting = _Sitting()
        state = checkpoint.load(place, conditions)
        if state is not None:
            sitting = _resume(training, state)
            observer.said(f"resuming from step {training.step:,} of {recipe.outer.steps:,}")

        def keep() -> None:
            checkpoint.save(place, _state(training, conditions, sitting, device))

        gflops = machine.convolution_gflops(device)
        observer.started(f"{recipe.id} {recipe.setup['name']} seed {seed}", training.step, recipe.outer.steps)
        status, reason = _train(training, observer, options, interrupted, keep)
        if status == "ok" and recipe.outer.steps:
            keep()
            if interrupted() and training.step < recipe.outer.steps:
                return Outcome("interrupted", training.step)
        evaluations: list[Evaluation] = []
        exhibit = None
        if status == "ok":
            try:
                evaluations, exhibit = _evaluate(training, observer), _exhibit(training)
            except MamlBenchError:
                raise
            except Exception as error:
                status, reason = "failed", _sentence(error)
        record = _record(training, conditions, sitting, status, reason, evaluations, exhibit, gflops)
        if found is not None and not options.force and not _replaces(record, found):
            observer.said(f"kept the record that is there: {found.outer_steps:,} steps, {found.status}")
            return Outcome("done", training.step, record if status == "failed" else found, path)
        record.save(options.results)
        if record.whole:
            place.unlink(missing_ok=True)
        return Outcome("done", training.step, record, path)


def _refuse_unlike(found: Record, path: Path, recipe: Recipe, options: Options) -> None:
    """A record that today's run would not equal is neither what was asked for nor to be lost without a word."""
    tasks = registry.build_tasks(recipe.tasks, f"recipe {recipe.id!r}")
    asked = {
        "task version": (found.task_version, tasks.version),
        "data": (found.data, tasks.fingerprint()),
        "schedule": (found.schedule, found.schedule if options.schedule == "auto" else options.schedule),
        "threads": (found.threads, options.threads or found.threads),
    }
    for what, (was, now) in asked.items():
        if was != now:
            raise MamlBenchError(
                f"{path} was made with other {what} ({was}, not {now}): use --force to replace it, or other --results"
            )


def _train(
    training: Training,
    observer: Observer,
    options: Options,
    interrupted: Callable[[], bool],
    keep: Callable[[], None],
) -> tuple[Status, str | None]:
    begun_s, saved_s = training.train_s, monotonic_s()
    last_s = begun_s

    def stop() -> bool:
        nonlocal last_s
        now_s = training.train_s
        longest_s, last_s = 2 * (now_s - last_s), now_s
        over_time = options.budget_s is not None and now_s - begun_s + longest_s >= options.budget_s
        over_steps = options.budget_steps is not None and training.step >= options.budget_steps
        return interrupted() or over_time or over_steps

    def after_step() -> None:
        nonlocal saved_s
        if monotonic_s() - saved_s >= CHECKPOINT_EVERY_S:
            keep()
            saved_s = monotonic_s()

    try:
        train(training, observer, stop, after_step)
    except MamlBenchError:
        raise
    except Exception as error:
        return "failed", _sentence(error)
    if training.diverged():
        return "diverged", f"the outer loss was not finite at step {training.step:,}"
    return "ok", None


def _evaluate(training: Training, observer: Observer) -> list[Evaluation]:
    evaluations = []
    for test in training.recipe.test:
        observer.said(f"testing on {test.episodes:,} tasks, {test.way}-way {test.shot}-shot, {test.query} query")
        with training.clock.measure("evaluate"):
            columns = score(training, test.split, test.shape, test.episodes, test.inner_steps)
        points = [
            Point.of(k, column, training.tasks.metric) for k, column in zip(test.inner_steps, columns, strict=True)
        ]
        evaluations.append(Evaluation(test.protocol, test.split, *test.shape, test.episodes, points))
    return evaluations


def _exhibit(training: Training) -> dict[str, Any] | None:
    show = getattr(training.tasks, "exhibit", None)
    if show is None:
        return None

    def answers(x: Tensor, support: Batch, shape: Shape) -> dict[int, Tensor]:
        inputs, *one = (take(tensor, 0).to(training.device) for tensor in (x, *support))
        return answer(training.setup, training.learner, training.meta, Batch(*one), inputs, EXHIBIT_STEPS)

    return show(answers)  # type: ignore[no-any-return]


def _record(
    training: Training,
    conditions: dict[str, Any],
    sitting: _Sitting,
    status: Status,
    reason: str | None,
    evaluations: list[Evaluation],
    exhibit: dict[str, Any] | None,
    gflops: float,
) -> Record:
    recipe, device = training.recipe, training.device
    commit, dirty = machine.commit()
    validation = recipe.validation
    return Record(
        recipe=recipe.plain(),
        recipe_id=recipe.recipe_id,
        seed=training.seed,
        status=status,
        reason=reason,
        task_version=training.tasks.version,
        metric=training.tasks.metric,
        data=training.tasks.fingerprint(),
        outer_steps=training.step,
        budget_steps=recipe.outer.steps,
        env_steps=None,
        evaluations=evaluations,
        curve=Curve(**training.curve, inner_steps=validation.inner_steps, episodes=validation.episodes),
        exhibit=exhibit,
        timing_s=training.clock.summary_s(),
        train_s=training.train_s,
        peak_memory_bytes=max(sitting.peak_memory_bytes, machine.peak_memory_bytes(device)),
        memory=memory.mode(),
        device=device,
        threads=conditions["threads"],
        schedule=training.body.schedule,
        network=training.body.words,
        machine=machine.describe(device),
        machine_id=conditions["machine"],
        machine_gflops=gflops,
        software=machine.software(),
        commit=commit,
        dirty=dirty,
        started_at=sitting.started_at,
        sittings=sitting.number,
    )


def _replaces(new: Record, old: Record) -> bool:
    """A record gives way only to one of a larger share, or to any that did not fail if it failed itself."""
    if new.status == "failed" or old.status == "failed":
        return old.status == "failed"
    return new.outer_steps > old.outer_steps or (new.status == "ok" and new.whole)


def _state(training: Training, conditions: dict[str, Any], sitting: _Sitting, device: str) -> checkpoint.State:
    peak = max(sitting.peak_memory_bytes, machine.peak_memory_bytes(device))
    return checkpoint.State(
        conditions, training.step, training.meta, training.optimiser, training.clock.state(),
        training.curve, training.recent_losses, sitting.started_at, sitting.number, peak,
        training.kept,
    )  # fmt: skip


def _resume(training: Training, state: checkpoint.State) -> _Sitting:
    device = training.device
    training.meta = {name: state.meta[name].to(device) for name in training.meta}
    training.optimiser = pytree.tree_map(lambda tensor: tensor.to(device), state.optimiser)
    training.clock.restore(state.clock)
    training.kept = [(mean, step, {n: p.to(device) for n, p in meta.items()}) for mean, step, meta in state.kept]
    training.step, training.curve, training.recent_losses = state.step, state.curve, state.recent_losses
    return _Sitting(state.started_at, state.sittings + 1, state.peak_memory_bytes)


def _sentence(error: Exception) -> str:
    """Type and first line of an error, without the folders of file names: records hold no paths."""
    words = re.sub(r"(?:[A-Za-z]:)?(?:[/\\][^\s/\\:'\"]+)+[/\\]", "", (str(error).splitlines() or [""])[0])
    return f"{type(error).__name__}: {words}"[:300]
