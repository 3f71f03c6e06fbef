"""The inner loop: numbers that can be had on paper, and what its arguments change."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from maml_bench.core.inner import SGD, Adam, Clipped, adapt

Point = dict[str, Tensor]


def square(params: Point, target: float) -> Tensor:
    """(w - target)^2 / 2, whose gradient is w - target; ``b`` is a bystander with gradient 1."""
    return ((params["w"] - target) ** 2).sum() / 2 + params["b"].sum()


def start(w: float = 1.0) -> Point:
    return {"w": torch.tensor([w], dtype=torch.float64), "b": torch.zeros(1, dtype=torch.float64)}


def test_sgd_on_a_parabola_shrinks_by_one_minus_rate_each_step() -> None:
    adapted = adapt(square, start(), 0.0, SGD(0.1), 3)
    assert adapted["w"].item() == pytest.approx(0.9**3)
    assert adapted["b"].item() == pytest.approx(-0.3)


def test_a_bounded_step_has_the_length_of_rate_times_norm() -> None:
    params = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0])}
    for norm, length in ((1.0, 0.1), (5.0, 0.5), (50.0, 0.5), (2.5, 0.25)):
        moved, _ = Clipped(SGD(0.1), norm)(0, params, params, None)
        found = torch.cat([params[name] - moved[name] for name in params]).norm()
        assert float(found) == pytest.approx(length)
    zeros = {name: torch.zeros_like(p, requires_grad=True) for name, p in params.items()}
    moved, _ = Clipped(SGD(0.1), 1.0)(0, params, zeros, None)
    grads = torch.autograd.grad(sum(p.sum() for p in moved.values()), list(zeros.values()))
    assert all(torch.equal(g, torch.full_like(g, -0.1)) for g in grads)


def test_no_steps_is_the_identity() -> None:
    assert adapt(square, start(), 0.0, SGD(0.1), 0)["w"].item() == 1.0


def test_trajectory_has_every_point_and_ends_at_the_last() -> None:
    path = adapt(square, start(), 0.0, SGD(0.5), 3, trajectory=True)
    assert [p["w"].item() for p in path] == [1.0, 0.5, 0.25, 0.125]


def test_a_list_of_batches_is_taken_in_turn() -> None:
    """Targets 0 and 1 with rate 1: each step lands on its target, the third on the first again."""
    path = adapt(square, start(5.0), [0.0, 1.0], SGD(1.0), 3, trajectory=True)
    assert [p["w"].item() for p in path] == [5.0, 0.0, 1.0, 0.0]


def test_only_the_named_parameters_move() -> None:
    adapted = adapt(square, start(), 0.0, SGD(0.1), 2, only=lambda name: name == "b")
    assert adapted["w"].item() == 1.0
    assert adapted["b"].item() == pytest.approx(-0.2)


def test_rates_can_be_tensors_of_the_parameters_shape() -> None:
    adapted = adapt(square, start(), 0.0, SGD({"w": torch.tensor([1.0]), "b": torch.tensor([0.0])}), 1)
    assert (adapted["w"].item(), adapted["b"].item()) == (0.0, 0.0)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.999), (0.9, 0.999)])
def test_adam_equals_torch_optim(beta1: float, beta2: float) -> None:
    reference = torch.nn.Parameter(start()["w"].clone())
    optimiser = torch.optim.Adam([reference], lr=0.05, betas=(beta1, beta2))
    for _ in range(5):
        optimiser.zero_grad()
        ((reference**2).sum() / 2).backward()
        optimiser.step()
    adapted = adapt(square, start(), 0.0, Adam(0.05, beta1, beta2), 5)
    assert adapted["w"].item() == pytest.approx(reference.item(), rel=1e-12)


@given(rate=st.floats(0.01, 0.9), steps=st.integers(1, 4))
def test_second_order_derivative_on_a_parabola(rate: float, steps: int) -> None:
    """d w_k / d w_0 = (1 - rate)^k with second derivatives; 1 without, where each gradient is a constant."""

    def end(w: Tensor, first_order: bool) -> Tensor:
        params = {"w": w, "b": torch.zeros(1, dtype=torch.float64)}
        return adapt(square, params, 0.0, SGD(rate), steps, first_order=first_order)["w"].sum()

    w = torch.ones(1, dtype=torch.float64)
    assert torch.func.grad(end)(w, False).item() == pytest.approx((1 - rate) ** steps)
    assert torch.func.grad(end)(w, True).item() == pytest.approx(1.0)


def test_first_order_reaches_the_same_point() -> None:
    second, first = (adapt(square, start(), 0.0, SGD(0.3), 4, first_order=f) for f in (False, True))
    assert torch.equal(second["w"], first["w"])


def test_first_order_keeps_learned_rates_differentiable() -> None:
    """w_1 = w - rate * w with w = 1: the derivative by the rate is -1 even where the gradient is a constant."""

    def end(rate: Tensor) -> Tensor:
        rates = {"w": rate, "b": torch.zeros(1, dtype=torch.float64)}
        return adapt(square, start(), 0.0, SGD(rates), 1, first_order=True)["w"].sum()

    assert torch.func.grad(end)(torch.full((1,), 0.1, dtype=torch.float64)).item() == -1.0
