"""Paces: what a meta-step and a test task cost on one kind of machine, so that the time of what is left can be told.

They come from records and checkpoints, or from ``measure``, which times a few steps and keeps them in
``<results>/paces/<machine>.json``.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_write, locked
from maml_bench.harness import machine, memory, preflight
from maml_bench.harness.build import build, rehearse, threads_for
from maml_bench.harness.checkpoint import State
from maml_bench.harness.clock import Clock, now_utc
from maml_bench.harness.loop import WARM_UP_STEPS, score, train
from maml_bench.harness.protocols import asked_tests
from maml_bench.harness.recipe import EpisodeShape, Recipe, Test, Validation
from maml_bench.harness.run import Options
from maml_bench.harness.run_state import KEEP, RunState, Silent
from maml_bench.record import Evaluation, Record

MEASURE_S = 2.0
LEAST_STEPS = 10
"""A record or checkpoint of fewer steps says nothing of a pace: most of them were warm-up."""
TASKS = 4
"""Tasks of each validation and test that ``measure`` scores."""
_FREE = ("steps", "rate", "decay", "halve_every", "floor")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that one kind of work takes on one kind of machine, with this device, these threads and this schedule.

    ``step_s`` is a meta-step with its sampling, after warm-up where it was measured for the purpose; ``score_s`` what
    validations and tests take by the example (see ``examples``); ``compile_s`` what a sitting spends on recording or
    compiling. ``work`` is ``work_of`` the recipe, ``name`` what the machine is, ``gflops`` its convolution rate then,
    in 1e9 operations per second, and ``source`` where the numbers come from.
    """

    work: str
    recipe: str
    setup: str
    machine: str
    name: str
    device: str
    threads: int
    schedule: str
    memory: str
    step_s: float
    score_s: float
    compile_s: float
    gflops: float | None
    commit: str | None
    dirty: bool | None
    at: str
    source: Literal["record", "checkpoint", "measured"]


def work_of(recipe: dict[str, Any]) -> str:
    """Eight hex digits over what decides the cost of a meta-step: presets that differ in budget only have the same."""
    content = {key: recipe[key] for key in ("tasks", "setup", "inner", "train")}
    content["outer"] = {key: value for key, value in recipe["outer"].items() if key not in _FREE}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def examples(test: EpisodeShape | Evaluation, steps: Sequence[int], checkpoint: str = "last") -> int:
    """Examples that the network is shown for one task: the support once per inner step, the query after each of
    ``steps``; all of it for each member of an ensemble."""
    shown = test.way * (test.shot * max(steps) + test.query * len(steps))
    return shown * (KEEP if checkpoint == "ensemble" else 1)


def scored(recipe: Recipe, step: int) -> int:
    """Examples that a run of ``recipe`` is still shown in validations and tests from ``step`` on."""
    validation, steps = recipe.validation, recipe.outer.steps
    validations = math.ceil(steps / validation.every) - step // validation.every + (step == 0)
    tests = asked_tests(recipe)
    return validations * validation.episodes * examples(validation, (validation.inner_steps,)) + sum(
        test.episodes * examples(test, test.inner_steps, test.checkpoint) for test in tests
    )


def of_record(record: Record) -> Pace | None:
    """The pace of a training run, or None where it was too short, was never tested, or ran on several machines."""
    if record.kind != "run" or record.earlier or not record.evaluations or 0 < record.outer_steps < LEAST_STEPS:
        return None
    curve, shape = (
        record.curve,
        EpisodeShape(**{key: record.recipe["validation"][key] for key in ("way", "shot", "query")}),
    )
    shown = len(curve.step) * curve.episodes * examples(shape, (curve.inner_steps,))
    for evaluation in record.evaluations:
        steps = [point.inner_steps for point in evaluation.points]
        shown += evaluation.episodes * examples(evaluation, steps, evaluation.checkpoint)
    spent_s = sum(record.timing_s.get(bucket, {}).get("total", 0.0) for bucket in ("validate", "evaluate"))
    return Pace(
        work=work_of(record.recipe),
        recipe=record.recipe["id"],
        setup=record.recipe["setup"]["name"],
        machine=record.machine_id,
        name=name_of(record.machine),
        device=record.device,
        threads=record.threads,
        schedule=record.schedule,
        memory=record.memory,
        step_s=record.train_s / max(record.outer_steps, 1),
        score_s=spent_s / max(shown, 1),
        compile_s=_mean(record.timing_s, "compile"),
        gflops=record.machine_gflops,
        commit=record.commit,
        dirty=record.dirty,
        at=record.started_at,
        source="record",
    )


def of_checkpoint(state: State, recipe: Recipe) -> Pace | None:
    """The pace of a run begun here, or None where it has not come far."""
    if state.step < LEAST_STEPS or state.earlier:
        return None
    totals = {name: {"total": total, "count": count} for name, (total, count) in state.clock["totals"].items()}
    validation = recipe.validation
    shown = validation.episodes * examples(validation, (validation.inner_steps,))
    return Pace(
        work=work_of(recipe.plain()),
        recipe=recipe.id,
        setup=recipe.setup["name"],
        machine=state.conditions["machine"],
        name=name_of(machine.describe(state.conditions["device"])),
        device=state.conditions["device"],
        threads=state.conditions["threads"],
        schedule=state.conditions["schedule"],
        memory=memory.mode(),
        step_s=train_s(state) / state.step,
        score_s=_mean(totals, "validate") / max(shown, 1),
        compile_s=_mean(totals, "compile"),
        gflops=None,
        commit=None,
        dirty=None,
        at=state.started_at,
        source="checkpoint",
    )


def train_s(state: State) -> float:
    """Seconds of training clock that a checkpoint has behind it."""
    names = [name + end for name in ("sample", "outer_step") for end in ("", "_warm_up")]
    return float(sum(state.clock["totals"].get(name, (0.0, 0))[0] for name in names))


def measure(recipe: Recipe, options: Options) -> Pace:
    """Time ``recipe`` here: meta-steps for ``MEASURE_S`` seconds, then a few validation and test tasks.

    Nothing is trained to be kept. Recording, compiling and the first call of everything are ``compile_s``.

    Raises:
        MamlBenchError: it cannot be run here, as its data are not stored or there is no such device.
    """
    device = preflight.usable_device(options.device)
    quiet = replace(recipe, validation=replace(recipe.validation, episodes=0))
    training = build(quiet, 0, device, options.schedule, options.chunk)
    rehearse(training)
    threads = options.threads or threads_for(training)
    torch.set_num_threads(threads)
    gflops = machine.convolution_gflops(device)

    def stop() -> bool:
        return training.step > WARM_UP_STEPS + 1 and training.clock.total_s("outer_step") >= MEASURE_S

    train(training, Silent(), stop, lambda: None)
    clock = Clock(device)
    shown, validation = 0, recipe.validation
    timed: list[tuple[str, Validation | Test, tuple[int, ...]]]
    timed = [("validation", validation, (validation.inner_steps,))]
    timed += [(test.split, test, test.inner_steps) for test in recipe.test]
    for split, test, steps in timed:
        count = min(TASKS, test.episodes)
        shown += count * examples(test, steps)
        for bucket in ("compile", "score") if count else ():  # at first for what is recorded then
            with clock.measure(bucket):
                score(training, split, test.shape, count, steps)
    commit, dirty = machine.commit()
    return Pace(
        work=work_of(recipe.plain()),
        recipe=recipe.id,
        setup=recipe.setup["name"],
        machine=machine.identity(device),
        name=name_of(machine.describe(device)),
        device=device,
        threads=threads,
        schedule=training.meta_step.execution.schedule,
        memory=memory.mode(),
        step_s=_step_s(training),
        score_s=clock.total_s("score") / max(shown, 1),
        compile_s=training.clock.total_s("compile") + clock.total_s("compile"),
        gflops=gflops,
        commit=commit,
        dirty=dirty,
        at=now_utc(),
        source="measured",
    )


def save(results: Path, pace: Pace) -> Path:
    """Put ``pace`` into the file of its machine below ``results``, in place of an older one of the same work."""
    path = results / "paces" / f"{pace.machine}.json"
    with locked(path, f"another process is writing {path}", wait_s=60):
        kept = [old for old in (_read(path) if path.exists() else []) if _same(old) != _same(pace)]
        paces = sorted([*kept, pace], key=lambda each: (each.recipe, each.setup, _same(each)))
        content = {"machine": pace.machine, "name": pace.name, "paces": [asdict(each) for each in paces]}
        atomic_write(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
    return path


def load(results: Path) -> list[Pace]:
    """All measured paces below ``results``, of all machines.

    Raises:
        MamlBenchError: a file of them cannot be read.
    """
    return [pace for path in sorted((results / "paces").glob("*.json")) for pace in _read(path)]


def choose(paces: Iterable[Pace], work: str, *, machine: str, device: str, threads: int, schedule: str) -> Pace | None:
    """Of the paces of this work under these conditions the one to trust: runs before measurements, then the newest."""
    wanted = (work, machine, device, threads, schedule)
    fit = [p for p in paces if (p.work, p.machine, p.device, p.threads, p.schedule) == wanted]
    return max(fit, key=lambda pace: (pace.source != "measured", pace.at), default=None)


def _read(path: Path) -> list[Pace]:
    try:
        return [Pace(**plain) for plain in json.loads(path.read_text(encoding="utf-8"))["paces"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MamlBenchError(f"{path} cannot be read as paces: remove it, and measure again with --measure") from error


def _same(pace: Pace) -> tuple[str, str, int, str]:
    return pace.work, pace.device, pace.threads, pace.schedule


def name_of(description: dict[str, Any]) -> str:
    """What a machine is, from its description: the GPU in use, else the processor."""
    return str(description.get("gpu") or description.get("cpu"))


def _step_s(training: RunState) -> float:
    """Median seconds of a meta-step after warm-up, and its share of sampling."""
    if not training.step:
        return 0.0
    summary = training.clock.summary_s()
    steps = summary.get("outer_step") or summary["outer_step_warm_up"]
    return steps["median"] + training.clock.total_s("sample") / training.step


def _mean(timing_s: dict[str, dict[str, float]], bucket: str) -> float:
    """Mean seconds of a sample of ``bucket``; 0 where there is none."""
    found = timing_s.get(bucket)
    return found["total"] / found["count"] if found else 0.0
