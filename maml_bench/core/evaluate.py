"""Evaluation: adapt on the support, score on the query; one number per episode and number of inner steps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.outer import schedule, take, tasks_in
from maml_bench.core.setup import Setup
from maml_bench.types import Episode, Params


def evaluate(
    setup: Setup,
    learner: Learner,
    meta: Params,
    episodes: Episode,
    steps: Sequence[int],
    *,
    schedule_name: str = "vmap",
    chunk: int | None = None,
) -> Tensor:
    """Scores ``[B, len(steps)]`` of B tasks after each number of inner steps in ``steps``.

    The states of all counts come from one run of ``max(steps)`` inner steps. A setup whose state does not depend on
    steps scores the same at each. ``chunk`` tasks are evaluated at once (default: all).
    """
    over_tasks = schedule(schedule_name)

    def scores(episode: Episode) -> Tensor:
        states = setup.adapt(learner, meta, episode.support, max(steps))
        reached = [states[min(k, len(states) - 1)] for k in steps]
        return torch.stack(
            [learner.score(lambda x, s=s: setup.predict(learner, meta, s, x), episode.query) for s in reached]  # type: ignore[misc]
        )

    size = chunk or tasks_in(episodes)
    with torch.no_grad():
        parts = [
            over_tasks(scores, take(episodes, slice(start, start + size)))
            for start in range(0, tasks_in(episodes), size)
        ]
    return torch.cat(parts)


def answer(
    setup: Setup,
    learner: Learner,
    meta: Params,
    support: Any,
    x: Tensor,
    steps: Sequence[int],
) -> dict[int, Tensor]:
    """Outputs of one task on inputs ``x [examples, ...]`` after each number of inner steps on ``support``."""
    with torch.no_grad():
        states = setup.adapt(learner, meta, support, max(steps))
        return {k: setup.predict(learner, meta, states[min(k, len(states) - 1)], x) for k in steps}
