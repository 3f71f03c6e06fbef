"""``pytest benchmarks``: seconds of one meta-step by schedule and query count."""

from typing import Any

import pytest
from meta_step import build

from maml_bench.engine.execution import SCHEDULES


@pytest.mark.parametrize("query", [1, 15])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_meta_step(benchmark: Any, schedule: str, query: int) -> None:
    benchmark.group = f"meta-step, {query} queries per class"
    benchmark.pedantic(build(schedule, query), rounds=20, warmup_rounds=5)
