"""Baseline: one step on paper, and the rest as torch.optim trains a linear layer on the same batches."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maml_bench.core.inner import Momentum, adapt
from maml_bench.setups.baseline import Baseline
from maml_bench.types import Batch
from tests.core.conftest import built
from tests.setups.test_classifiers import WAY, episodes_of, learner_of


def test_momentum_on_a_parabola_by_hand() -> None:
    """Gradient w + 0.5 w; velocities 1.5, then 0.9 * 1.5 + 0.25 * 1.5 * 0.85; rate 0.1."""
    start = {"w": torch.ones(1, dtype=torch.float64)}
    path = adapt(
        lambda p, _: (p["w"] ** 2).sum() / 2, start, None, Momentum(0.1, 0.9, 0.75, decay=0.5), 2, trajectory=True
    )
    assert [p["w"].item() for p in path] == pytest.approx([1, 0.85, 0.85 - 0.1 * (1.35 + 0.25 * 1.275)])


@pytest.mark.parametrize("dampening", [0.0, 0.9])
def test_momentum_is_torchs(dampening: float) -> None:
    target = torch.linspace(-1, 1, 5, dtype=torch.float64)
    theirs = nn.Parameter(torch.ones(5, dtype=torch.float64))
    optimiser = torch.optim.SGD([theirs], lr=0.05, momentum=0.9, dampening=dampening, weight_decay=0.01)
    for _ in range(6):
        optimiser.zero_grad()
        ((theirs - target) ** 4).sum().backward()
        optimiser.step()
    update = Momentum(0.05, 0.9, dampening, 0.01)
    mine = adapt(lambda p, _: ((p["w"] - target) ** 4).sum(), {"w": torch.ones_like(target)}, None, update, 6)
    torch.testing.assert_close(mine["w"], theirs.detach(), rtol=1e-12, atol=0)


def test_the_first_step_of_the_whole_support_by_hand() -> None:
    """From zero, row c becomes rate * mean of ([y = c] - 1 / way) z; without bias, as classes are equally many."""
    learner = learner_of("strided")
    support = Batch(*(t[0] for t in episodes_of("strided", labels=WAY).support))
    meta = learner.initial()
    layer = Baseline(batch=0).adapt(learner, meta, support, 1)[-1]
    z = learner.embed(meta, support.x)
    expected = 0.1 * (F.one_hot(support.y, WAY).double() - 1 / WAY).T @ z / len(z)
    torch.testing.assert_close(layer["head.weight"], expected)
    torch.testing.assert_close(layer["head.bias"], torch.zeros(WAY, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("batch", [0, 4])
def test_it_is_a_linear_layer_trained_by_torch_on_frozen_features(batch: int) -> None:
    learner, episodes = learner_of("strided"), episodes_of("strided", labels=WAY)
    support, x = Batch(*(t[1] for t in episodes.support)), episodes.query.x[1]
    meta, setup = learner.initial(), Baseline(batch=batch)
    state = setup.adapt(learner, meta, support, 9)[-1]

    z = learner.embed(meta, support.x)
    layer = built(lambda: nn.Linear(z.shape[1], WAY)).double()
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, dampening=0.9, weight_decay=0.001)
    for step in range(9):
        rows = [(step * batch + i) % len(z) for i in range(batch or len(z))]
        optimiser.zero_grad()
        F.cross_entropy(layer(z[rows]), support.y[rows]).backward()
        optimiser.step()
    expected = layer(learner.embed(meta, x)).detach()
    torch.testing.assert_close(setup.predict(learner, meta, state, x), expected, rtol=1e-9, atol=1e-12)


def test_a_rate_per_shot_is_way_times_that_on_the_mean() -> None:
    learner = learner_of("strided")
    support = Batch(*(t[0] for t in episodes_of("strided", labels=WAY).support))
    meta, setup = learner.initial(), Baseline(momentum=0.0, decay=0.0, dampening=0.0)
    [_, mean] = setup.adapt(learner, meta, support, 1)
    learner.inner = type(learner.inner)(learner.inner.rate, 0, "per shot")
    [_, shot] = setup.adapt(learner, meta, support, 1)
    torch.testing.assert_close(shot["head.weight"], WAY * mean["head.weight"])
