"""Schedules and chunks: different ways to the same gradient, to rounding in float64."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maml_bench.core.outer import SCHEDULES, meta_gradient, schedule
from maml_bench.core.setup import Setup
from maml_bench.errors import MamlBenchError
from maml_bench.setups.maml import MAML
from maml_bench.setups.reptile import Reptile
from tests.core.conftest import Make
from tests.core.test_gradients import relative_error
from tests.engine.test_meta_step import SETUPS

shared = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
@shared
@given(
    way=st.integers(2, 4),
    shot=st.integers(1, 3),
    steps=st.integers(0, 3),
    tasks=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_schedules_agree(
    classification: Make, setup: Setup, way: int, shot: int, steps: int, tasks: int, seed: int
) -> None:
    learner, _, episodes = classification(tasks=tasks, steps=steps, way=way, shot=shot, seed=seed)
    meta = setup.init(learner, torch.Generator().manual_seed(seed))
    reference, losses = meta_gradient(setup, learner, meta, episodes, schedule_name="loop")
    grads, same = meta_gradient(setup, learner, meta, episodes, schedule_name="vmap")
    scale = max(float(g.abs().max()) for g in reference.values())
    assert max(float((grads[n] - reference[n]).abs().max()) for n in reference) <= 1e-10 * scale
    torch.testing.assert_close(same, losses, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 7, 100])
def test_chunks_do_not_change_the_gradient(regression: Make, name: str, chunk: int) -> None:
    """Seven tasks in chunks that do and do not divide them."""
    learner, meta, episodes = regression(tasks=7)
    whole, losses = meta_gradient(MAML(), learner, meta, episodes, schedule_name="vmap")
    grads, same = meta_gradient(MAML(), learner, meta, episodes, schedule_name=name, chunk=chunk)
    assert relative_error(grads, whole) < 1e-12
    torch.testing.assert_close(same, losses, rtol=1e-12, atol=0)


def test_schedules_agree_with_adam_inside(regression: Make) -> None:
    learner, meta, episodes = regression(steps=5)
    reference, _ = meta_gradient(Reptile(inner_batch=2), learner, meta, episodes, schedule_name="loop")
    grads, _ = meta_gradient(Reptile(inner_batch=2), learner, meta, episodes, schedule_name="vmap")
    assert relative_error(grads, reference) < 1e-10


def test_an_unknown_schedule_names_the_nearest() -> None:
    with pytest.raises(MamlBenchError, match="did you mean 'vmap'"):
        schedule("vmapp")
