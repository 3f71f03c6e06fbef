"""iMAML: closed forms on quadratics, and the derivative through many unrolled steps elsewhere."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maml_bench.core.inner import SGD, Proximal, adapt
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.outer import meta_gradient, take, tasks_in
from maml_bench.core.setup import Setup
from maml_bench.errors import MamlBenchError
from maml_bench.registry import build_setup
from maml_bench.setups.imaml import IMAML
from maml_bench.types import Batch, Episode, Params
from tests.core.conftest import Make, built
from tests.core.test_gradients import relative_error
from tests.engine.test_meta_step import gradients_agree, problem


@dataclass(frozen=True)
class Unrolled(Setup):
    """The same inner loop, with the default meta-gradient: through all of its steps."""

    strength: float = 2.0

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, Proximal(SGD(learner.inner.rate), self.strength), steps)


def test_the_proximal_rule_ends_between_the_minimum_and_the_start() -> None:
    """(w - 3)^2 / 2 + 2 / 2 (w - 9)^2 has its minimum at (3 + 2 * 9) / (1 + 2) = 7; the first step is plain."""
    path = adapt(
        lambda p, target: ((p["w"] - target) ** 2).sum() / 2,
        {"w": torch.tensor([9.0], dtype=torch.float64)},
        3.0,
        Proximal(SGD(0.1), 2.0),
        100,
        trajectory=True,
    )
    assert path[1]["w"].item() == pytest.approx(9 - 0.1 * 6)
    assert path[2]["w"].item() == pytest.approx(8.4 - 0.1 * (5.4 + 2 * (8.4 - 9)))
    assert path[-1]["w"].item() == pytest.approx(7, rel=1e-12)


@pytest.mark.parametrize(("ridge", "damping"), [(0.0, 0.0), (1.0, 10.0)])
def test_on_linear_regression_the_gradient_has_a_closed_form(ridge: float, damping: float) -> None:
    """phi = (H + s I)^-1 (X'y 2/n + s theta), H = 2 X'X / n; the gradient is (I + H / s)^-1 times that of the query,
    or with the system of the released code."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(3, 8, n, generator=generator, dtype=torch.float64) for n in (4, 1))
    model = built(lambda: nn.Linear(4, 1, bias=False)).double()
    learner = Learner(model, lambda p, b: F.mse_loss(p(b.x), b.y), lambda p, b: p(b.x).mean(), Inner(0.05, 400))
    episodes = Episode(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]))
    strength, theta = 1.5, learner.initial()["weight"].flatten()
    expected = torch.zeros(4, dtype=torch.float64)
    for i in range(tasks_in(episodes)):
        (support, target), (query, answer) = take(episodes, i)
        hessian, eye = 2 / 5 * support.T @ support, torch.eye(4, dtype=torch.float64)
        pull = (2 / 5 * support.T @ target).flatten() + strength * theta
        phi = torch.linalg.solve(hessian + strength * eye, pull)
        slope = 2 / 3 * query.T @ (query @ phi - answer.flatten())
        expected += torch.linalg.solve((1 + ridge) * eye + hessian / (strength + damping), slope) / 3
    setup = IMAML(strength=strength, cg_steps=4, ridge=ridge, damping=damping)
    grads, losses = meta_gradient(setup, learner, learner.initial(), episodes)
    torch.testing.assert_close(grads["weight"].flatten(), expected, rtol=1e-10, atol=0)
    assert losses.shape == (3,)
    fewer, _ = meta_gradient(replace(setup, cg_steps=1), learner, learner.initial(), episodes)
    assert not torch.allclose(fewer["weight"].flatten(), expected, rtol=1e-3)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_it_is_the_gradient_through_many_steps(kind: str, request: pytest.FixtureRequest, record_property) -> None:
    """With offsets that the inner loop leaves alone, and with the loss scaled by the ways."""
    options = {"outside": ("*.beta",), "reduction": "per shot"} if kind == "classification" else {}
    learner, meta, episodes = request.getfixturevalue(kind)(tasks=2, steps=60, rate=0.1, **options)
    expected, _ = meta_gradient(Unrolled(6.0), learner, meta, episodes)
    grads, _ = meta_gradient(IMAML(strength=6.0, cg_steps=25), learner, meta, episodes)
    error = relative_error(grads, expected)
    record_property("relative_error", error)
    assert error < 1e-10


def test_few_steps_inside_are_not_the_gradient_through_them(regression: Make) -> None:
    """The comparison has teeth: far from the minimum the two differ."""
    learner, meta, episodes = regression(tasks=2, steps=2)
    expected, _ = meta_gradient(Unrolled(6.0), learner, meta, episodes)
    grads, _ = meta_gradient(IMAML(strength=6.0, cg_steps=25), learner, meta, episodes)
    assert relative_error(grads, expected) > 1e-3


@pytest.mark.parametrize("schedule", ["vmap", "traced"])
def test_schedules_agree(schedule: str, classification: Make) -> None:
    learner, _, episodes = classification(tasks=2, steps=1, outside=("*.beta",), reduction="per shot")
    gradients_agree(IMAML(cg_steps=2), learner, episodes, schedule, 1e-10)


def test_many_steps_on_a_wide_layer_are_recorded() -> None:
    """Each step uses the weights twice: were that to double what the recording knows of them, 18 would never end."""
    learner, episodes = problem("wide", steps=18, tasks=2, dtype=torch.float64)
    gradients_agree(IMAML(cg_steps=1), learner, episodes, "traced", 1e-10)


@pytest.mark.parametrize("name", ["ridge", "damping"])
def test_the_system_is_not_made_less_definite(name: str) -> None:
    with pytest.raises(MamlBenchError, match=f"{name} is -1.0, but must be at least 0"):
        build_setup({"name": "imaml", name: -1.0}, "here")


@pytest.mark.parametrize("strength", [0.0, -1.0])
def test_without_a_pull_there_is_no_implicit_gradient(strength: float) -> None:
    with pytest.raises(MamlBenchError, match=r"strength is .*, but must be above 0"):
        build_setup({"name": "imaml", "strength": strength}, "here")
    with pytest.raises(MamlBenchError, match=f"IMAML: strength is {strength}, but must be above 0"):
        IMAML(strength=strength)
