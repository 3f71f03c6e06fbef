"""R2-D2: the head against a least-squares solver, its start, its gradient."""

import math

import pytest
import torch

from maml_bench.setups.r2d2 import R2D2
from maml_bench.types import Batch
from tests.setups.checks import EXACT, Identity, Smooth, drawn, hold, learner_of, tasks_of


@pytest.mark.parametrize("features", [3, 12])
def test_the_head_is_ridge_regression(features: int) -> None:
    """min |X W - Y|^2 + lambda |W|^2 is least squares with sqrt(lambda) I below X, whichever side of X is longer."""
    learner = learner_of(lambda: Identity(features, 2), 2)
    meta = drawn(R2D2(ridge=0.5), learner)
    generator = torch.Generator().manual_seed(0)
    x, query = (torch.randn(n, features, generator=generator, dtype=torch.float64) for n in (6, 4))
    y = torch.tensor([0, 1, 1, 0, 0, 1])
    [state] = R2D2().adapt(learner, meta, Batch(x, y), 0)
    rows = torch.cat([x, torch.ones(6, 1, dtype=torch.float64)], dim=1)
    root = (meta["r2d2.log_lambda"] / 2).exp() * torch.eye(features + 1, dtype=torch.float64)
    target = torch.cat([torch.nn.functional.one_hot(y, 2).double(), torch.zeros(features + 1, 2, dtype=torch.float64)])
    weight = torch.linalg.lstsq(torch.cat([rows, root]), target).solution
    torch.testing.assert_close(state["weight"], weight, **EXACT)
    expected = meta["r2d2.alpha"] * (query @ weight[:-1] + weight[-1]) + meta["r2d2.beta"]
    torch.testing.assert_close(R2D2().predict(learner, meta, state, query), expected, **EXACT)


def test_what_is_learned_beside_the_network_starts_where_the_recipe_says() -> None:
    learner = learner_of(lambda: Identity(3, 2), 2)
    meta = R2D2(ridge=4.0, scale=10.0).init(learner, torch.Generator())
    own = {name: float(p) for name, p in meta.items() if name.startswith("r2d2.")}
    assert own == pytest.approx({"r2d2.log_lambda": math.log(4), "r2d2.alpha": 10, "r2d2.beta": 0})
    assert all(p.dtype == torch.float64 for p in meta.values())


def test_gradient_and_schedules() -> None:
    hold(R2D2(ridge=2.0, scale=3.0), learner_of(lambda: Smooth(3, 3), 3), tasks_of(3, 2, 2, 3))
