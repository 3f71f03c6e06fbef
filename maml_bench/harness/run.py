"""From one recipe and one seed to one Record: skip what is done, resume what was begun, train, evaluate, write."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from maml_bench.core.setup import Setup
from maml_bench.engine.execution import refuse_unknown
from maml_bench.errors import CannotWrite, MamlBenchError, Unstable
from maml_bench.files import remove_leftovers
from maml_bench.harness import checkpoint, machine, meta_test, preflight, record_there, weights
from maml_bench.harness.build import build, rehearse, threads_for
from maml_bench.harness.clock import monotonic_s, pause
from maml_bench.harness.protocols import asked_tests
from maml_bench.harness.recipe import Recipe, Test
from maml_bench.harness.record_of_run import Segment, conditions_of, moved, record_of, resume, state_of
from maml_bench.harness.run_state import Observer, RunState, Silent
from maml_bench.harness.team import Team
from maml_bench.harness.together import alike, train
from maml_bench.own_faults import explained, explaining, in_short, trace_of
from maml_bench.record import Evaluation, Record, relative_path
from maml_bench.record_search import Status, Tuned

CHECKPOINT_EVERY_S = 30.0
WAIT_S = 5.0
"""Seconds between two tries to write a checkpoint that has no place."""


@dataclass(frozen=True)
class Options:
    """Where and how to run; nothing here is part of the experiment, all of it stands in the record or cannot matter.

    ``budget_s`` bounds the training clock of this segment, ``budget_steps`` the outer steps in all; either ends the run
    early at a checkpoint from which the next call goes on. ``force`` starts over and replaces what is there.
    ``threads`` None means all cores, or one for tasks as small as sinusoids. ``schedule`` is auto or one of
    engine.execution.SCHEDULES, ``chunk`` the number of tasks differentiated at once. ``protocols`` are the tests to
    take, of harness.protocols.PROTOCOLS; none for the recipe's default, of which a partial budget gets ``paper`` alone.
    ``continue_from`` is a checkpoint of the same experiment made elsewhere, to go on from where there is none of here.
    ``checkpoint_s`` is the number of seconds from one checkpoint to the next; None means CHECKPOINT_EVERY_S. ``locks``
    is a folder of locks that several machines share, see `preflight.alone`. ``tuned`` is the search that found the
    recipe's values, for the record.
    """

    results: Path = Path("runs")
    device: str = "cpu"
    threads: int | None = None
    schedule: str = "auto"
    chunk: int | None = None
    budget_s: float | None = None
    budget_steps: int | None = None
    force: bool = False
    protocols: tuple[str, ...] = ()
    continue_from: Path | None = None
    checkpoint_s: float | None = None
    locks: Path | None = None
    tuned: Tuned | None = None


@dataclass(frozen=True)
class Outcome:
    """What a call of ``run`` came to; ``record`` is None where it was interrupted before the end."""

    how: Literal["done", "tests added", "already there", "interrupted"]
    step: int
    record: Record | None = None
    path: Path | None = None


def run(
    recipe: Recipe,
    seed: int,
    options: Options | None = None,
    *,
    observer: Observer | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    team: Team | None = None,
) -> Outcome:
    """Train and evaluate ``recipe`` with ``seed``, and leave a Record below ``options.results``.

    A divergence or a failure inside the run is a Record too. ``interrupted`` is asked after every step; once true, a
    checkpoint is written and the call returns. A whole record that lacks tests gets them from its saved weights.
    ``team`` are the processes that train together; this one leads them, and the others are in
    executors.torchrun.follow.

    Raises:
        MamlBenchError: the input is at fault, or another process is at work on the same record.
    """
    options = options or Options()
    observer = observer or Silent()
    preflight.refuse_unfit_seed(seed)
    tests = asked_tests(recipe, options.protocols)
    device = team.device(options.device) if team else preflight.usable_device(options.device)
    if options.schedule != "auto":
        refuse_unknown(options.schedule)
    machine.commit()  # as it is when the run starts; kept for the record
    relative = relative_path(recipe.plain(), recipe.recipe_id, seed, machine.identity(device))
    path = options.results / relative
    preflight.refuse_unwritable(path)
    remove_leftovers(options.results)
    with preflight.alone(path, options.locks):
        place = path.with_suffix(".ckpt")
        found = None if options.force else record_there.earlier(path)
        tuned = record_there.searches(path, options.tuned)
        if found is not None:
            record_there.refuse_unlike(
                found, path, recipe, options.schedule, options.threads, team.size if team else None
            )
            if found.tuned != tuned:
                found = replace(found, tuned=tuned)
                found.save(options.results)
            share = (
                options.budget_steps is not None and found.status == "ok" and found.outer_steps >= options.budget_steps
            )
            if share or (found.whole and checkpoint.find(place, {})[0] is None):
                due = tests if found.whole else _of_a_share(recipe, options)
                return _completed(found, path, recipe, due, options, observer, interrupted)
        if options.force:
            checkpoint.remove(place)
        machine.reset_peak_memory(device)
        with explaining():
            training = build(recipe, seed, device, options.schedule, options.chunk, team)
            rehearse(training, tests)
        threads = options.threads or threads_for(training)
        torch.set_num_threads(threads)
        conditions = conditions_of(training, threads)
        segment = Segment()
        state, kept = checkpoint.find(place, conditions)
        if state is None and options.continue_from:
            state = moved(options.continue_from, conditions)
        if state is not None:
            segment = resume(training, state)
            where = f", which was kept in {kept}" if kept != place else ""
            observer.said(f"resuming from step {training.step:,} of {recipe.outer.steps:,}{where}")

        told: set[str] = set()

        def keep() -> Path:
            return _keep(place, state_of(training, conditions, segment), observer, told)

        gflops = machine.convolution_gflops(device)
        if team:
            team.meet(alike(conditions), state)
        observer.started(title_of(recipe, seed), training.step, recipe.outer.steps)
        status, reason, trace = _train(training, observer, options, interrupted, keep)
        if status == "ok" and recipe.outer.steps:
            kept = keep()
            if interrupted() and training.step < recipe.outer.steps:
                return Outcome("interrupted", training.step)
        evaluations: list[Evaluation] = []
        exhibit = None
        if status == "ok":
            due = tests if training.step >= recipe.outer.steps else _of_a_share(recipe, options)
            try:
                evaluations = meta_test.evaluations(training, due, observer, _from_now(interrupted))
                exhibit = meta_test.exhibit(training)
            except meta_test.Stopped:
                return Outcome("interrupted", training.step)
            except MamlBenchError:
                raise
            except Exception as error:
                status, reason, trace = "failed", sentence(error, training.setup), trace_of(error)
        record = record_of(
            training, conditions, segment, gflops, status, reason, evaluations, exhibit=exhibit, trace=trace,
            tuned=tuned,
        )  # fmt: skip
        if found is not None and not options.force and not record_there.replaces(record, found):
            observer.said(f"kept the record that is there: {found.outer_steps:,} steps, {found.status}")
            return Outcome("done", training.step, record if status == "failed" else found, path)
        try:
            if status == "ok":
                weights.keep(training, options.results, relative)
            record.save(options.results)
        except OSError as error:
            raise _unwritten(path, error, kept if status == "ok" and recipe.outer.steps else None) from error
        if record.whole:
            checkpoint.remove(place)
        return Outcome("done", training.step, record, path)


def title_of(recipe: Recipe, seed: int) -> str:
    """Recipe, setup and seed, for messages."""
    return f"{recipe.id} {recipe.setup['name']} seed {seed}"


def _keep(place: Path, state: checkpoint.State, observer: Observer, told: set[str]) -> Path:
    """Write a checkpoint, if not to ``place`` then elsewhere; wait where it can be written nowhere. Return its path.

    ``told`` are the sentences that the observer has heard, each of them once.
    """

    def say(sentence: str) -> None:
        if sentence not in told:
            told.add(sentence)
            observer.said(sentence)

    while True:
        try:
            path, problem = checkpoint.save_somewhere(place, state)
        except OSError as error:
            say(f"the checkpoint can be written nowhere ({error.strerror}); waiting until there is room")
            pause(WAIT_S)
            continue
        if problem is not None:
            say(f"{place} cannot be written ({problem.strerror}); the checkpoint is kept in {path}")
        return path


def _unwritten(path: Path, error: OSError, kept: Path | None) -> CannotWrite:
    """What is said where the weights or the record of a run cannot be written."""
    what = f"what was trained is kept in {kept}, and the same command continues from there" if kept else "run it again"
    return CannotWrite(f"{path} cannot be written ({error.strerror}); {what} when that is mended")


def _completed(
    found: Record,
    path: Path,
    recipe: Recipe,
    tests: tuple[Test, ...],
    options: Options,
    observer: Observer,
    interrupted: Callable[[], bool],
) -> Outcome:
    """A record that nothing is left to train for, with the tests that it lacks taken from its weights."""
    missing = [test for test in tests if not meta_test.has(found.evaluations, test)]
    there = Outcome("already there", found.outer_steps, found, path)
    if not missing or found.status != "ok":
        return there
    training = build(recipe, found.seed, found.device, found.schedule)
    rehearse(training, missing)
    if not weights.restore(training, options.results, found):
        names = ", ".join(dict.fromkeys(test.protocol for test in missing))
        lacking = (
            f"{path} lacks tests ({names}), and its weights are not there to take them with: use --force to run again"
        )
        if options.protocols:
            raise MamlBenchError(lacking)
        observer.said(lacking)
        return there
    torch.set_num_threads(found.threads)
    try:
        new = meta_test.evaluations(training, missing, observer, _from_now(interrupted))
    except meta_test.Stopped:
        return Outcome("interrupted", found.outer_steps)
    record = replace(found, evaluations=meta_test.joined(found.evaluations, new))
    record.save(options.results)
    return Outcome("tests added", found.outer_steps, record, path)


def _of_a_share(recipe: Recipe, options: Options) -> tuple[Test, ...]:
    """The tests of a run that is not whole yet: long ones wait for its end, unless they are asked for."""
    return asked_tests(recipe, options.protocols or ("paper",))


def _from_now(interrupted: Callable[[], bool]) -> Callable[[], bool]:
    """What was asked for before the tests began does not end them: they belong to what is done."""
    return (lambda: False) if interrupted() else interrupted


def _train(
    training: RunState,
    observer: Observer,
    options: Options,
    interrupted: Callable[[], bool],
    keep: Callable[[], object],
) -> tuple[Status, str | None, str]:
    """Train to the end of the budget; return how that ended, why, and the trace of an error."""
    every_s = CHECKPOINT_EVERY_S if options.checkpoint_s is None else options.checkpoint_s
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
        if monotonic_s() - saved_s >= every_s:
            keep()
            saved_s = monotonic_s()

    try:
        train(training, observer, stop, after_step)
    except Unstable as error:
        return "diverged", str(error), ""
    except MamlBenchError:
        raise
    except Exception as error:
        # Ctrl-C reaches a C++ compiler that torch has started too, and makes it fail.
        if not (interrupted() and training.step < training.recipe.outer.steps):
            return "failed", sentence(error, training.setup), trace_of(error)
    if training.diverged():
        return "diverged", f"the outer loss was not finite at step {training.step:,}", ""
    if not all(bool(p.isfinite().all()) for p in training.meta.values()):
        return "diverged", f"the meta-parameters were not finite after step {training.step:,}", ""
    return "ok", None, ""


def sentence(error: Exception, setup: Setup) -> str:
    """What went wrong in a user's code, or type and first line of any other error.

    Folders of file names are left out: records hold no paths.
    """
    if told := explained(error, setup):
        return told
    return in_short(error)
