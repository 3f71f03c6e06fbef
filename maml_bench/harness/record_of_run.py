"""A run over several sittings: what each adds, what is kept between them, and the Record that all of them leave."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from maml_bench.errors import MamlBenchError
from maml_bench.harness import checkpoint, machine, memory
from maml_bench.harness.clock import now_utc
from maml_bench.harness.run_state import Training, acting
from maml_bench.record import Curve, Evaluation, Record, Status


@dataclass
class Sitting:
    """What one call adds to a run that may have begun in an earlier one."""

    started_at: str = field(default_factory=now_utc)
    number: int = 1
    peak_memory_bytes: int = 0
    earlier: list[dict[str, Any]] = field(default_factory=list)


STAYS = ("recipe_id", "seed", "task_version", "data")
"""Conditions that are the experiment itself: a run can be moved to others of the rest."""


def conditions_of(training: Training, threads: int) -> dict[str, Any]:
    """What must be equal for a run to go on to the same bits."""
    return {
        "recipe_id": training.recipe.recipe_id,
        "seed": training.seed,
        "schedule": training.body.schedule,
        "threads": threads,
        "device": training.device,
        "machine": machine.identity(training.device),
        "torch": str(torch.__version__),
        "task_version": training.tasks.version,
        "data": training.tasks.fingerprint(),
    }


def state_of(training: Training, conditions: dict[str, Any], sitting: Sitting) -> checkpoint.State:
    """A run as a checkpoint."""
    peak = max(sitting.peak_memory_bytes, machine.peak_memory_bytes(training.device))
    return checkpoint.State(
        conditions, training.step, training.meta, training.optimiser, training.clock.state(),
        training.curve, training.recent_losses, sitting.started_at, sitting.number, peak,
        training.kept, training.env_steps, machine.commit()[0], sitting.earlier,
    )  # fmt: skip


def resume(training: Training, state: checkpoint.State) -> Sitting:
    """Put a checkpoint into a run that has just begun, and begin another sitting."""
    device = training.device
    training.meta = {name: state.meta[name].to(device) for name in training.meta}
    training.optimiser = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), state.optimiser)
    training.clock.restore(state.clock)
    training.kept = [(mean, step, {n: p.to(device) for n, p in meta.items()}) for mean, step, meta in state.kept]
    training.step, training.curve, training.recent_losses = state.step, state.curve, state.recent_losses
    training.env_steps = state.env_steps
    return Sitting(state.started_at, state.sittings + 1, state.peak_memory_bytes, state.earlier)


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
    training: Training,
    conditions: dict[str, Any],
    sitting: Sitting,
    gflops: float,
    status: Status,
    reason: str | None,
    evaluations: list[Evaluation],
    **more: Any,
) -> Record:
    """The Record of a run as it stands; ``more`` sets further fields of it, or other values."""
    recipe, device = training.recipe, training.device
    commit, dirty = machine.commit()
    validation = recipe.validation
    fields: dict[str, Any] = {
        "recipe": recipe.plain(),
        "recipe_id": recipe.recipe_id,
        "seed": training.seed,
        "status": status,
        "reason": reason,
        "task_version": training.tasks.version,
        "metric": training.tasks.metric,
        "data": training.tasks.fingerprint(),
        "outer_steps": training.step,
        "budget_steps": recipe.outer.steps,
        "env_steps": training.env_steps if acting(training.tasks) else None,
        "evaluations": evaluations,
        "curve": Curve(**training.curve, inner_steps=validation.inner_steps, episodes=validation.episodes),
        "exhibit": None,
        "timing_s": training.clock.summary_s(),
        "train_s": training.train_s,
        "peak_memory_bytes": max(sitting.peak_memory_bytes, machine.peak_memory_bytes(device)),
        "memory": memory.mode(),
        "device": device,
        "threads": conditions["threads"],
        "schedule": training.body.schedule,
        "network": training.body.words,
        "machine": machine.describe(device),
        "machine_id": conditions["machine"],
        "machine_gflops": gflops,
        "software": machine.software(),
        "commit": commit,
        "dirty": dirty,
        "started_at": sitting.started_at,
        "sittings": sitting.number,
        "earlier": sitting.earlier,
    }
    return Record(**{**fields, **more})
