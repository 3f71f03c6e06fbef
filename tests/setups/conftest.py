"""The small smooth problems of tests/core, and one whose network has a context."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maml_bench.core.learner import Inner, Learner
from maml_bench.models import ContextInput
from maml_bench.types import Batch, Episode
from tests.core.conftest import Make, built, classification, fill, regression

__all__ = ["classification", "regression"]


def with_context() -> nn.Module:
    return nn.Sequential(ContextInput(3), nn.Linear(2 + 3, 5), nn.Tanh(), nn.Linear(5, 1))


@pytest.fixture
def contextual() -> Make:
    """Regression with three free parameters beside the input."""

    def make(tasks: int = 4, steps: int = 2, rate: float = 0.5):
        generator = torch.Generator().manual_seed(0)
        model = fill(built(with_context), 0)
        learner = Learner(
            model,
            lambda p, b: F.mse_loss(p(b.x), b.y),
            lambda p, b: F.mse_loss(p(b.x), b.y),
            Inner(rate, steps),
        )
        x, y = (torch.randn(tasks, 8, n, generator=generator, dtype=torch.float64) for n in (2, 1))
        return learner, learner.initial(), Episode(Batch(x[:, :4], y[:, :4]), Batch(x[:, 4:], y[:, 4:]))

    return make
