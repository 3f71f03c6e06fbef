"""The meta-gradient over a meta-batch, and the schedules that compute it. The reduction over tasks is always the mean.

``loop`` goes through the tasks one by one: the plain reference. ``vmap`` maps all tasks of a chunk at once
(torch.func). Both differentiate the same functions and agree to rounding.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import OverTasks, Setup
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.trees import leaves, tree_map
from maml_bench.types import Episode, Params


def _vmap(function: Callable[[Any], Any], episodes: Any) -> Any:
    return torch.vmap(function, randomness="different")(episodes)


AT_ONCE_ELEMENTS = 2**21
"""Elements of episodes in one part of `in_parts`; a small network's activations for them fit into the CPU cache."""


def in_parts(function: Callable[[Any], Any], episodes: Any) -> Any:
    """As ``vmap``, but only a few tasks at a time where they are large. The result of one operation is then still in
    the cache when the next one reads it, also in the backward pass."""
    elements = sum(t.numel() for t in leaves(episodes)) // tasks_in(episodes)
    size = max(1, AT_ONCE_ELEMENTS // max(1, elements))
    return torch.vmap(function, randomness="different", chunk_size=size)(episodes)


def _loop(function: Callable[[Any], Any], episodes: Any) -> Any:
    results = [function(take(episodes, i)) for i in range(tasks_in(episodes))]
    return tree_map(lambda *tasks: torch.stack(tasks), *results)


SCHEDULES: dict[str, OverTasks] = {"loop": _loop, "vmap": _vmap}


def schedule(name: str) -> OverTasks:
    """The mapping called ``name``.

    Raises:
        MamlBenchError: there is none of that name.
    """
    if name not in SCHEDULES:
        raise MamlBenchError(f"no schedule {name!r}{nearest(name, SCHEDULES)}")
    return SCHEDULES[name]


def tasks_in(episodes: Any) -> int:
    """Number of tasks B in a tree whose tensors have leading task axes."""
    return int(leaves(episodes)[0].shape[0])


def take(episodes: Any, index: int | slice) -> Any:
    """Task ``index`` (without its axis), or a slice of tasks, of a tree with leading task axes."""
    return tree_map(lambda tensor: tensor[index], episodes)


def meta_gradient(
    setup: Setup,
    learner: Learner,
    meta: Params,
    episodes: Episode,
    *,
    schedule_name: str = "vmap",
    chunk: int | None = None,
) -> tuple[Params, Tensor]:
    """Mean meta-gradient over the tasks in ``episodes``.

    Args:
        setup: the method.
        learner: network and loss.
        meta: meta-parameters.
        episodes: B tasks.
        schedule_name: a key of SCHEDULES.
        chunk: tasks differentiated at once; smaller chunks need less memory and give the same gradient.
            Default: one for ``loop``, all for ``vmap``. A setup with a pool of tasks always gets all of them.

    Returns:
        (gradient with the names of ``meta``, outer losses ``[B]``).
    """
    over_tasks = schedule(schedule_name)
    count = tasks_in(episodes)
    size = count if setup.pool else chunk or (1 if schedule_name == "loop" else count)
    if size >= count:
        return setup.gradient(learner, meta, episodes, over_tasks)
    total: Params = {}
    losses = []
    for start in range(0, count, size):
        part = take(episodes, slice(start, start + size))
        grads, part_losses = setup.gradient(learner, meta, part, over_tasks)
        weight = part_losses.shape[0] / count
        total = {n: weight * g + total[n] if total else weight * g for n, g in grads.items()}
        losses.append(part_losses)
    return total, torch.cat(losses)
