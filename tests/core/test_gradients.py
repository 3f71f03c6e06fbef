"""Every meta-gradient against what it must equal: finite differences, definitions by hand, another library."""

import pytest
import torch
from torch import Tensor

from maml_bench.core.outer import meta_gradient, take, tasks_in
from maml_bench.core.setup import Setup
from maml_bench.setups.anil import ANIL
from maml_bench.setups.fomaml import FOMAML
from maml_bench.setups.maml import MAML
from maml_bench.setups.meta_sgd import MetaSGD
from maml_bench.setups.oracle import Oracle
from maml_bench.setups.pretrained import Pretrained
from maml_bench.setups.reptile import Reptile
from maml_bench.types import Batch, Episode
from tests.core.conftest import Make, by_hand

STEP = 1e-5


def mean_loss(setup: Setup, learner, meta: dict[str, Tensor], episodes: Episode) -> float:
    """The outer objective, task by task."""
    losses = [setup.loss(learner, meta, take(episodes, i)) for i in range(tasks_in(episodes))]
    return float(sum(losses) / len(losses))


def finite_differences(setup: Setup, learner, meta: dict[str, Tensor], episodes: Episode) -> dict[str, Tensor]:
    """Central differences of ``mean_loss`` in every coordinate."""
    found = {}
    for name, p in meta.items():
        grad = torch.zeros_like(p)
        for i in range(p.numel()):
            ends = []
            for sign in (1, -1):
                moved = p.clone()
                moved.view(-1)[i] += sign * STEP
                ends.append(mean_loss(setup, learner, meta | {name: moved}, episodes))
            grad.view(-1)[i] = (ends[0] - ends[1]) / (2 * STEP)
        found[name] = grad
    return found


def relative_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest difference of two gradients over the largest entry."""
    assert found.keys() == expected.keys()
    scale = max(float(g.abs().max()) for g in expected.values())
    assert scale > 1e-4, "the gradient is too small to tell anything"
    return max(float((found[n] - expected[n]).abs().max()) for n in expected) / scale


@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize(
    "setup", [MAML(), ANIL(), MetaSGD(spread=0.5), Pretrained(), Pretrained(both_halves=True), Oracle()]
)
def test_exact_gradients_equal_finite_differences(
    setup: Setup, kind: str, request: pytest.FixtureRequest, record_property
) -> None:
    learner, _, episodes = request.getfixturevalue(kind)(outside=("*.beta",) if kind == "classification" else ())
    meta = setup.init(learner, torch.Generator().manual_seed(0))
    grads, losses = meta_gradient(setup, learner, meta, episodes)
    assert float(losses.mean()) == pytest.approx(mean_loss(setup, learner, meta, episodes))
    error = relative_error(grads, finite_differences(setup, learner, meta, episodes))
    record_property("relative_error", error)
    assert error < 1e-6


@pytest.mark.parametrize("norm", [0.01, 0.3, 100.0])
def test_the_gradient_through_a_bounded_inner_gradient_is_exact(regression: Make, norm: float) -> None:
    learner, meta, episodes = regression(norm=norm)
    grads, _ = meta_gradient(MAML(), learner, meta, episodes)
    assert relative_error(grads, finite_differences(MAML(), learner, meta, episodes)) < 1e-6
    free, _, _ = regression()
    same = relative_error(grads, meta_gradient(MAML(), free, meta, episodes)[0]) < 1e-12
    assert same == (norm == 100.0)


def test_dropping_second_derivatives_is_not_the_exact_gradient(classification: Make) -> None:
    """The finite-difference test has teeth: the first-order gradient fails it."""
    learner, meta, episodes = classification()
    grads, _ = meta_gradient(FOMAML(), learner, meta, episodes)
    assert relative_error(grads, finite_differences(MAML(), learner, meta, episodes)) > 1e-3


def test_fomaml_is_the_query_gradient_at_the_adapted_weights(classification: Make) -> None:
    learner, meta, episodes = classification(outside=("*.beta",), reduction="per shot")
    grads, _ = meta_gradient(FOMAML(), learner, meta, episodes)
    expected = {name: torch.zeros_like(p) for name, p in meta.items()}
    for i in range(tasks_in(episodes)):
        episode = take(episodes, i)
        leaves = {n: p.clone().requires_grad_() for n, p in meta.items()}
        adapted = {
            n: p.detach().requires_grad_() for n, p in by_hand(learner, leaves, episode.support, 2, graph=False).items()
        }
        loss = learner.batch_loss(adapted, episode.query)
        for n, g in zip(adapted, torch.autograd.grad(loss, list(adapted.values())), strict=True):
            expected[n] += g / tasks_in(episodes)
    assert relative_error(grads, expected) < 1e-12


def test_reptile_is_the_mean_displacement(regression: Make) -> None:
    """Three SGD steps by hand on windows of two of the six pooled points, around the end."""
    learner, meta, episodes = regression(steps=4)
    grads, _ = meta_gradient(Reptile(inner_batch=2, inner_optimiser="sgd"), learner, meta, episodes)
    expected = {n: torch.zeros_like(p) for n, p in meta.items()}
    for i in range(tasks_in(episodes)):
        episode = take(episodes, i)
        x, y = (torch.cat(pair) for pair in zip(episode.support, episode.query, strict=True))
        phi = {n: p.clone().requires_grad_() for n, p in meta.items()}
        for rows in ([0, 1], [2, 3], [4, 5], [0, 1]):
            phi = by_hand(learner, phi, Batch(x[rows], y[rows]), 1, graph=False)
        for n in meta:
            expected[n] += (meta[n] - phi[n].detach()) / tasks_in(episodes)
    assert relative_error(grads, expected) < 1e-12


@pytest.mark.parametrize("reduction", ["mean", "per shot"])
def test_maml_on_a_network_equals_the_loop_with_autograd(classification: Make, reduction: str) -> None:
    learner, meta, episodes = classification(outside=("*.beta",), reduction=reduction)
    leaves = {n: p.clone().requires_grad_() for n, p in meta.items()}
    losses = []
    for i in range(tasks_in(episodes)):
        adapted = by_hand(learner, leaves, take(episodes, i).support, 2, graph=True)
        losses.append(learner.batch_loss(adapted, take(episodes, i).query))
    expected = dict(zip(leaves, torch.autograd.grad(sum(losses) / len(losses), list(leaves.values())), strict=True))
    grads, _ = meta_gradient(MAML(), learner, meta, episodes)
    assert relative_error(grads, expected) < 1e-12


def test_per_shot_reduction_is_way_times_the_rate_on_the_mean(classification: Make) -> None:
    """protocols of the released code: the gradient of sum / shot is way times that of the mean."""
    one, meta, episodes = classification(rate=0.2, reduction="per shot", way=3)
    other, _, _ = classification(rate=0.6, reduction="mean", way=3)
    grads, expected = (meta_gradient(MAML(), learner, meta, episodes)[0] for learner in (one, other))
    assert relative_error(grads, expected) < 1e-12


def test_maml_equals_the_library_higher(record_property) -> None:
    """MAML on the paper's convolutional network, float64, two inner steps, every weight adapted."""
    higher = pytest.importorskip("higher", reason="needs the test extra: pip install -e .[test]")
    import torch.nn.functional as F

    from maml_bench.core.learner import Inner, Learner
    from maml_bench.models import Conv, Conv4

    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        model = Conv4(1, 28, 5, Conv(8), normalise="batch", generator=generator).double()
    learner = Learner(model, lambda p, b: F.cross_entropy(p(b.x), b.y), lambda p, b: p(b.x).mean(), Inner(0.4, 2), 5)
    x = torch.rand(3, 10, 1, 28, 28, generator=generator, dtype=torch.float64)
    y = torch.arange(5).repeat(2).expand(3, -1)
    episodes = Episode(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]))
    grads, _ = meta_gradient(MAML(), learner, learner.initial(), episodes)

    inner = torch.optim.SGD(model.parameters(), lr=0.4)
    for i in range(3):
        with higher.innerloop_ctx(model, inner, copy_initial_weights=False) as (functional, optimiser):
            for _ in range(2):
                optimiser.step(F.cross_entropy(functional(x[i, :5]), y[i, :5]))
            (F.cross_entropy(functional(x[i, 5:]), y[i, 5:]) / 3).backward()
    expected = {n: p.grad for n, p in model.named_parameters()}
    error = relative_error(grads, expected)
    record_property("relative_error", error)
    assert error < 1e-10
