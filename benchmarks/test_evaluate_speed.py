"""``pytest benchmarks``: seconds to score one evaluation batch after 3 inner steps, as validation and tests do it."""

from typing import Any

import pytest
from meta_step import problem

from maml_bench.engine.execution import SCHEDULES, Execution
from maml_bench.engine.scoring import Scorer
from maml_bench.harness.episodes import CHUNK_ELEMENTS
from maml_bench.setups.maml import MAML
from maml_bench.types import Shape

INPUTS = 28 * 28


@pytest.mark.parametrize("query", [1, 15])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_evaluation_batch(benchmark: Any, schedule: str, query: int) -> None:
    """As many 5-way 1-shot tasks as the harness scores at once: 33 with one query per class, 4 with 15."""
    benchmark.group = f"evaluation batch, {query} queries per class"
    shape = Shape(5, 1, query)
    tasks = CHUNK_ELEMENTS["cpu"] // (shape.way * (shape.shot + shape.query) * INPUTS)
    learner, meta, episodes = problem(query, tasks=tasks)
    scorer = Scorer(MAML(), Execution(learner, schedule))
    benchmark.pedantic(scorer.scores, (meta, episodes, (3,)), rounds=20, warmup_rounds=5)
