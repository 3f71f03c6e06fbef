"""Relation networks: the module against torch's layers on concatenated maps, its loss, its gradient, its refusal."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maml_bench.core.outer import take
from maml_bench.errors import MamlBenchError
from maml_bench.harness.build import build
from maml_bench.harness.recipe import resolve
from maml_bench.setups.relation import RelationNet
from tests.golden.adapter import small_store
from tests.setups.checks import EXACT, Identity, Smooth, drawn, hold, learner_of, tasks_of

SETUP = RelationNet(filters=2, hidden=3)


def module(meta: dict[str, torch.Tensor], side: int) -> nn.Module:
    """The relation module as the released code builds it, at the values of ``meta``."""
    with torch.random.fork_rng():
        layers = nn.Sequential(
            nn.Conv2d(4, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2, track_running_stats=False), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2, track_running_stats=False), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(2 * (side // 4) ** 2, 3), nn.ReLU(), nn.Linear(3, 1), nn.Sigmoid(),
        ).double()  # fmt: skip
    own = [value for name, value in meta.items() if name.startswith("relation.")]
    layers.load_state_dict(dict(zip(layers.state_dict(), own, strict=True)))
    return layers


def test_scores_are_those_of_the_module_on_each_pair_of_concatenated_maps() -> None:
    side, way, shot, query = 6, 3, 2, 2
    learner = learner_of(lambda: Smooth(side, way), way)
    meta = drawn(SETUP, learner)
    episode = take(tasks_of(way, shot, query, side), 0)
    support, queries = episode
    [state] = SETUP.adapt(learner, meta, support, 0)
    maps = learner.embed(meta, support.x).reshape(-1, 2, side, side)
    sums = torch.stack([maps[support.y == label].sum(0) for label in range(way)])
    torch.testing.assert_close(state["classes"], sums, **EXACT)
    of_query = learner.embed(meta, queries.x).reshape(-1, 2, side, side)
    pairs = torch.stack([torch.cat([sums[c], q]) for q in of_query for c in range(way)])
    expected = module(meta, side)(pairs).reshape(way * query, way).detach()
    found = SETUP.predict(learner, meta, state, queries.x)
    torch.testing.assert_close(found, expected, **EXACT)
    hot = F.one_hot(queries.y, way).double()
    torch.testing.assert_close(SETUP.loss(learner, meta, episode), ((found - hot) ** 2).mean(), **EXACT)


def start_of(setup: str, *settings: str) -> dict[str, torch.Tensor]:
    """The meta-parameters on Omniglot before the first step."""
    with small_store():
        return build(resolve("omniglot-5w1s", preset="smoke", setup=setup, settings=settings), 0, "cpu", "vmap").meta


def test_convolutions_start_as_in_the_released_code() -> None:
    """weights_init there: a normal distribution with variance 2 / (filters * 9), in the encoder as in the module."""
    meta = start_of("relation")
    convolutions = {name: p for name, p in meta.items() if p.dim() == 4}
    assert len(convolutions) == 6
    for name, p in convolutions.items():
        assert float(p.std()) == pytest.approx((2 / (9 * len(p))) ** 0.5, rel=0.1), name
        assert float(p.abs().max() / p.std()) > 2.5, f"{name} is not normal"


def test_convolutions_can_start_as_in_maml() -> None:
    metas = [start_of("relation", "setup.start=xavier"), start_of("protonet", "tasks.conv.halvings=2")]
    names = [name for name, p in metas[1].items() if p.dim() == 4]
    assert len(names) == 4
    assert all(torch.equal(metas[0][name], metas[1][name]) for name in names)


@pytest.mark.slow
def test_gradient_and_schedules() -> None:
    hold(SETUP, learner_of(lambda: Smooth(4, 3), 3), tasks_of(3, 2, 2, 4))


@pytest.mark.parametrize("features", [31, 2 * 9, 2 * 3 * 7])
def test_a_network_without_square_maps_is_a_sentence(features: int) -> None:
    with pytest.raises(
        MamlBenchError, match=rf"compares 2 square maps .* is given {features} features: use tasks.conv"
    ):
        SETUP.init(learner_of(lambda: Identity(features, 3), 3), torch.Generator().manual_seed(0))
