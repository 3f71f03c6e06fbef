"""Small float64 problems whose losses are smooth, so that finite differences are exact to many digits."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maml_bench.core.learner import Inner, Learner
from maml_bench.models import BatchNorm
from maml_bench.types import Batch, Episode

Make = Callable[..., tuple[Learner, dict[str, Tensor], Episode]]


class SmoothConv(nn.Module):
    """Convolution, batch-norm, tanh, twice; then a head: the papers' order of layers, differentiable everywhere."""

    def __init__(self, way: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 2, 3, stride=2, padding=1), BatchNorm(2), nn.Tanh(),
            nn.Conv2d(2, 2, 3, stride=2, padding=1), BatchNorm(2), nn.Tanh(),
        )  # fmt: skip
        self.head = nn.Linear(2, way)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((-2, -1)))


def smooth_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))


def fill(module: nn.Module, seed: int) -> nn.Module:
    """Double precision and values from a generator of our own."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for p in module.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return module


def built(kind: type[nn.Module] | Callable[[], nn.Module]) -> nn.Module:
    """Construct without letting torch's layers draw from the global generator."""
    with torch.random.fork_rng():
        return kind()


@pytest.fixture
def regression() -> Make:
    def make(tasks: int = 4, steps: int = 2, rate: float = 0.1, seed: int = 0, **inner: object):
        generator = torch.Generator().manual_seed(100 + seed)
        model = fill(built(smooth_mlp), seed)
        learner = Learner(
            model,
            lambda p, b: F.mse_loss(p(b.x), b.y),
            lambda p, b: F.mse_loss(p(b.x), b.y),
            Inner(rate, steps, **inner),
        )
        x, y = (torch.randn(tasks, 6, n, generator=generator, dtype=torch.float64) for n in (2, 1))
        return learner, learner.initial(), Episode(Batch(x[:, :3], y[:, :3]), Batch(x[:, 3:], y[:, 3:]))

    return make


@pytest.fixture
def classification() -> Make:
    def make(
        tasks: int = 2, steps: int = 2, rate: float = 0.2, way: int = 3, shot: int = 1, seed: int = 0, **inner: object
    ):
        generator = torch.Generator().manual_seed(200 + seed)
        model = fill(built(lambda: SmoothConv(way)), seed)
        learner = Learner(
            model,
            lambda p, b: F.cross_entropy(p(b.x), b.y),
            lambda p, b: (p(b.x).argmax(-1) == b.y).double().mean(),
            Inner(rate, steps, **inner),
            way,
        )
        n = way * shot
        x = torch.rand(tasks, 2 * n, 1, 9, 9, generator=generator, dtype=torch.float64)
        y = torch.arange(way).repeat(2 * shot).expand(tasks, -1)
        return learner, learner.initial(), Episode(Batch(x[:, :n], y[:, :n]), Batch(x[:, n:], y[:, n:]))

    return make


def by_hand(
    learner: Learner, params: dict[str, Tensor], support: Batch, steps: int, *, graph: bool
) -> dict[str, Tensor]:
    """The inner loop once more, with torch.autograd and nothing of ours but the loss: what ``adapt`` must equal."""
    rate = learner.inner.rate * learner.scale
    for _ in range(steps):
        names = [name for name in params if learner.moves(name)]
        loss = learner.batch_loss(params, support)
        grads = torch.autograd.grad(loss, [params[n] for n in names], create_graph=graph)
        params = params | {n: params[n] - rate * g for n, g in zip(names, grads, strict=True)}
    return params
