"""Setups that adapt a context: what moves, where it starts, and what its meta-gradient is."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from maml_bench.core.inner import Adam
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.outer import meta_gradient, take
from maml_bench.errors import MamlBenchError
from maml_bench.models import ContextInput, Conv4
from maml_bench.setups._shared.context import ContextOnly
from maml_bench.setups.cavia import CAVIA
from maml_bench.setups.context import Context
from maml_bench.types import Batch, Episode
from tests.conftest import of_blocks
from tests.core.conftest import Make, built
from tests.core.test_gradients import finite_differences, relative_error
from tests.engine.test_meta_step import gradients_agree

BOTH = [pytest.param(setup, id=type(setup).__name__) for setup in (CAVIA(), Context())]


@pytest.mark.parametrize("setup", BOTH)
def test_the_inner_loop_moves_the_context_alone(setup: ContextOnly, contextual: Make) -> None:
    learner, meta, episodes = contextual()
    path = setup.adapt(learner, meta, take(episodes.support, 0), 3)
    assert len(path) == 4
    for before, after in pairwise(path):
        assert {n for n in meta if not torch.equal(before[n], after[n])} == {"0.context"}
    assert torch.equal(path[0]["0.context"], meta["0.context"] if type(setup) is Context else torch.zeros(3).double())


def test_one_step_on_paper() -> None:
    """y = w x + v c with w = 2, v = 3: at rate 1/4, c' = c - v mean(w x + v c - y) / 2, and w x is 4 on average."""
    model = built(lambda: nn.Sequential(ContextInput(1), nn.Linear(2, 1, bias=False))).double()
    model[1].weight.data = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    learner = Learner(model, lambda p, b: ((p(b.x) - b.y) ** 2).mean(), lambda p, b: p(b.x).mean(), Inner(0.25, 1))
    support = Batch(torch.tensor([[1.0], [3.0]]).double(), torch.tensor([[10.0], [10.0]]).double())
    for start in (0.0, 7.0):
        meta = learner.initial() | {"0.context": torch.tensor([start]).double()}
        assert CAVIA().adapt(learner, meta, support, 1)[-1]["0.context"].item() == -3 * (4 - 10) / 2
    assert Context().adapt(learner, meta, support, 1)[-1]["0.context"].item() == 7 - 3 * (4 + 3 * 7 - 10) / 2


@pytest.mark.parametrize("setup", BOTH)
def test_the_gradient_is_exact(setup: ContextOnly, contextual: Make) -> None:
    learner, meta, episodes = contextual()
    grads, _ = meta_gradient(setup, learner, meta, episodes)
    assert relative_error(grads, finite_differences(setup, learner, meta, episodes)) < 1e-6


def test_the_context_of_cavia_is_never_learned(contextual: Make) -> None:
    learner, meta, episodes = contextual()
    grads, _ = meta_gradient(CAVIA(), learner, meta, episodes)
    assert torch.count_nonzero(grads["0.context"]) == 0
    moved, _ = Adam(0.1)(0, meta, grads, Adam(0.1).init(meta))
    assert {n for n in meta if not torch.equal(moved[n], meta[n])} == meta.keys() - {"0.context"}
    learned, _ = meta_gradient(Context(), learner, meta, episodes)
    assert torch.count_nonzero(learned["0.context"]) == 3


@pytest.mark.parametrize("schedule", ["vmap", "traced"])
@pytest.mark.parametrize(
    ("setup", "place"), [pytest.param(CAVIA(), "film", id="film"), pytest.param(Context(), "input", id="input")]
)
def test_schedules_agree_on_convolutions_with_a_context(setup: ContextOnly, schedule: str, place: str) -> None:
    conv = of_blocks(16, 16, 16, context=5, context_at=place)
    generator = torch.Generator().manual_seed(0)
    model = Conv4(1, 16, 3, conv, normalise="batch", generator=generator).double()
    for p in model.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    learner = Learner(
        model,
        lambda p, b: nn.functional.cross_entropy(p(b.x), b.y),
        lambda p, b: p(b.x).mean(),
        Inner(1.0, 2),
        3,
    )
    x = torch.rand(3, 6, 1, 16, 16, generator=generator, dtype=torch.float64)
    y = torch.arange(3).repeat(2).expand(3, -1)
    episodes = Episode(Batch(x[:, :3], y[:, :3]), Batch(x[:, 3:], y[:, 3:]))
    gradients_agree(setup, learner, episodes, schedule, 1e-10)


@pytest.mark.parametrize("setup", BOTH)
def test_a_network_without_a_context_is_refused(setup: ContextOnly, regression: Make) -> None:
    learner, _, _ = regression()
    with pytest.raises(MamlBenchError, match=r"adapts the parameters called 'context', and the network has none"):
        setup.init(learner, torch.Generator())
