"""The Record of a run, also of one that was interrupted and continued: what each segment of it adds and keeps."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from maml_bench.errors import MamlBenchError
from maml_bench.harness import checkpoint, machine, memory
from maml_bench.harness.clock import now_utc
from maml_bench.harness.run_state import CURVE, RunState
from maml_bench.record import Curve, Evaluation, Record
from maml_bench.record_search import Status
from maml_bench.trees import tree_map


@dataclass
class Segment:
    """What one call adds to a run that may have begun in an earlier one."""

    started_at: str = field(default_factory=now_utc)
    number: int = 1
    peak_memory_bytes: int = 0
    earlier: list[dict[str, Any]] = field(default_factory=list)


STAYS = ("recipe_id", "seed", "task_version", "data")
"""Conditions that are the experiment itself: a run can be moved to others of the rest."""


def conditions_of(run: RunState, threads: int) -> dict[str, Any]:
    """What must be equal for a run to go on to the same bits."""
    return {
        "recipe_id": run.recipe.recipe_id,
        "seed": run.seed,
        "schedule": run.meta_step.execution.schedule,
        "threads": threads,
        "device": run.device,
        "machine": machine.identity(run.device),
        "torch": str(torch.__version__),
        "task_version": run.tasks.version,
        "data": run.tasks.fingerprint(),
        "processes": run.team.size if run.team else 1,
    }


def state_of(run: RunState, conditions: dict[str, Any], segment: Segment) -> checkpoint.State:
    """A run as a checkpoint."""
    peak = max(segment.peak_memory_bytes, machine.peak_memory_bytes(run.device))
    return checkpoint.State(
        conditions, run.step, run.meta, run.optimiser, run.clock.state(),
        run.curve, run.recent_losses, segment.started_at, segment.number, peak,
        run.kept, run.episodes.counts().get("env_steps", 0), machine.commit()[0], segment.earlier,
    )  # fmt: skip


def resume(run: RunState, state: checkpoint.State) -> Segment:
    """Put a checkpoint into a run that has just begun, and begin another segment."""
    device = run.device
    run.meta = {name: state.meta[name].to(device) for name in run.meta}
    run.optimiser = tree_map(lambda tensor: tensor.to(device), state.optimiser)
    run.clock.restore(state.clock)
    run.kept = [(mean, step, {n: p.to(device) for n, p in meta.items()}) for mean, step, meta in state.kept]
    absent = {name: [None] * len(state.curve["step"]) for name in CURVE}  # older checkpoints do not have every list
    run.step, run.curve, run.recent_losses = (
        state.step,
        {**absent, **state.curve},
        state.recent_losses,
    )
    run.episodes.restore({"env_steps": state.env_steps})
    return Segment(state.started_at, state.segments + 1, state.peak_memory_bytes, state.earlier)


def moved(path: Path, conditions: dict[str, Any]) -> checkpoint.State:
    """The checkpoint at ``path`` under other ``conditions`` than its own, which go to what it was moved from.

    Raises:
        MamlBenchError: there is none, it is damaged, or it is another experiment's.
    """
    state = checkpoint.load(path, {name: conditions[name] for name in STAYS})
    if state is None:
        raise MamlBenchError(f"no checkpoint {path} to go on from")
    left = {name: value for name, value in state.conditions.items() if name not in STAYS}
    return replace(state, earlier=[*state.earlier, {**left, "commit": state.commit, "outer_steps": state.step}])


def record_of(
    run: RunState,
    conditions: dict[str, Any],
    segment: Segment,
    gflops: float,
    status: Status,
    reason: str | None,
    evaluations: list[Evaluation],
    **more: Any,
) -> Record:
    """The Record of a run as it stands; ``more`` sets further fields of it, or other values."""
    recipe, device = run.recipe, run.device
    commit, dirty = machine.commit()
    validation = recipe.validation
    fields: dict[str, Any] = {
        "recipe": recipe.plain(),
        "recipe_id": recipe.recipe_id,
        "seed": run.seed,
        "status": status,
        "reason": reason,
        "task_version": run.tasks.version,
        "metric": run.tasks.metric,
        "data": run.tasks.fingerprint(),
        "outer_steps": run.step,
        "budget_steps": recipe.outer.steps,
        "env_steps": run.episodes.counts().get("env_steps"),
        "evaluations": evaluations,
        "curve": Curve(**run.curve, inner_steps=validation.inner_steps, episodes=validation.episodes),
        "exhibit": None,
        "timing_s": run.clock.summary_s(),
        "step_blocks_s": run.clock.blocks_s("outer_step"),
        "step_blocks_at_s": run.clock.block_moments_s("outer_step"),
        "train_s": run.train_s,
        "peak_memory_bytes": max(segment.peak_memory_bytes, machine.peak_memory_bytes(device)),
        "memory": memory.mode(),
        "device": device,
        "threads": conditions["threads"],
        "processes": conditions["processes"],
        "schedule": run.meta_step.execution.schedule,
        "parameters": sum(tensor.numel() for tensor in run.meta.values()),
        "network": run.meta_step.execution.description,
        "machine": machine.describe(device),
        "machine_id": conditions["machine"],
        "machine_gflops": gflops,
        "software": machine.software(),
        "commit": commit,
        "dirty": dirty,
        "started_at": segment.started_at,
        "segments": segment.number,
        "earlier": segment.earlier,
    }
    return Record(**{**fields, **more})
