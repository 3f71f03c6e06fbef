"""What every setup that compares or reads the support must hold: its gradient, and that schedules agree."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maml_bench.core.learner import Inner, Learner
from maml_bench.core.outer import meta_gradient
from maml_bench.core.setup import Setup
from maml_bench.engine.meta_step import MetaStep
from maml_bench.models import BatchNorm
from maml_bench.types import Batch, Episode, Params
from tests.core.conftest import built, fill
from tests.core.test_gradients import finite_differences, relative_error

EXACT = {"rtol": 1e-10, "atol": 1e-12}


class Identity(nn.Module):
    """A network whose embedding is the flattened input, before a ``head``."""

    def __init__(self, features: int, way: int) -> None:
        super().__init__()
        self.head = nn.Linear(features, way)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


class Smooth(nn.Module):
    """One convolution, batch-norm and tanh, differentiable everywhere; maps ``[2, side, side]`` are flattened."""

    def __init__(self, side: int, way: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), BatchNorm(2), nn.Tanh(), nn.Flatten())
        self.head = nn.Linear(2 * side * side, way)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def learner_of(network: Callable[[], nn.Module], way: int) -> Learner:
    """In float64, its parameters drawn."""
    return Learner(
        fill(built(network), 0),
        lambda p, b: F.cross_entropy(p(b.x), b.y),
        lambda p, b: (p(b.x).argmax(-1) == b.y).double().mean(),
        Inner(0.1, 1),
        way,
    )


def tasks_of(way: int, shot: int, query: int, side: int) -> Episode:
    """Two tasks of random images, in rounds of all classes."""
    count = 2
    generator = torch.Generator().manual_seed(1)
    rounds = way * (shot + query)
    x = torch.rand(count, rounds, 1, side, side, generator=generator, dtype=torch.float64)
    y = torch.stack([torch.randperm(way, generator=generator) for _ in range(count * (shot + query))]).reshape(
        count, -1
    )
    n = way * shot
    return Episode(Batch(x[:, :n], y[:, :n]), Batch(x[:, n:], y[:, n:]))


def drawn(setup: Setup, learner: Learner) -> Params:
    """The setup's meta-parameters, moved from where they start, so that none is a special value."""
    generator = torch.Generator().manual_seed(2)
    meta = setup.init(learner, generator)
    return {n: p + 0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64) for n, p in meta.items()}


def hold(setup: Setup, learner: Learner, episodes: Episode) -> None:
    """The meta-gradient is that of finite differences, and the same under loop, vmap and as a recorded program."""
    meta = drawn(setup, learner)
    grads, losses = meta_gradient(setup, learner, meta, episodes, schedule_name="loop")
    assert relative_error(grads, finite_differences(setup, learner, meta, episodes)) < 1e-6
    for schedule in ("vmap", "traced"):
        found, same = MetaStep(setup, learner, schedule=schedule).gradient(meta, episodes)
        assert relative_error(found, grads) < 1e-10
        torch.testing.assert_close(same, losses, **EXACT)
