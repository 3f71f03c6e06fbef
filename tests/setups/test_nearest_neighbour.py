"""Nearest neighbour: points in the plane that are their own features, and search by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maml_bench.core.learner import Inner, Learner
from maml_bench.setups.nearest_neighbour import NearestNeighbour
from maml_bench.types import Batch
from tests.core.conftest import built

SUPPORT = Batch(torch.tensor([[1.0, 0.0], [0.0, 1.0], [6.0, 6.0], [0.5, 4.0]]), torch.tensor([2, 0, 1, 0]))


def plane(way: int = 3) -> Learner:
    """The features of a point are its coordinates."""
    model = built(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 9)))
    return Learner(model, lambda p, b: F.cross_entropy(p(b.x), b.y), lambda p, b: p(b.x).mean(), Inner(0.1, 0), way)


def labels(metric: str, *points: tuple[float, float]) -> list[int]:
    setup, learner = NearestNeighbour(metric), plane()
    [state] = setup.adapt(learner, learner.initial(), SUPPORT, 5)
    return setup.predict(learner, learner.initial(), state, torch.tensor(points)).argmax(1).tolist()


def test_by_distance_and_by_angle() -> None:
    """(2, 2) lies nearest (1, 0) and (0, 1) but in the direction of (6, 6); (9, 1) lies nearest (6, 6)."""
    assert labels("euclidean", (2.0, 1.9), (9.0, 1.0), (0.4, 3.0), (0.1, 0.9)) == [2, 1, 0, 0]
    assert labels("cosine", (2.0, 1.9), (9.0, 1.0), (0.4, 3.0), (0.1, 0.9)) == [1, 2, 0, 0]


def test_logits_are_the_greatest_similarity_of_each_class() -> None:
    setup, learner = NearestNeighbour("cosine"), plane()
    [state] = setup.adapt(learner, learner.initial(), SUPPORT, 0)
    [logits] = setup.predict(learner, learner.initial(), state, torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(logits, torch.tensor([(0.3 + 3.2) / 16.25**0.5, 1.4 / 2**0.5, 0.6]))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_it_is_a_search_through_the_support(metric: str) -> None:
    draw = torch.Generator().manual_seed(3)
    support = Batch(torch.randn(20, 2, generator=draw), torch.arange(5).repeat(4)[torch.randperm(20, generator=draw)])
    queries = torch.randn(50, 2, generator=draw)
    setup, learner = NearestNeighbour(metric), plane(5)
    [state] = setup.adapt(learner, learner.initial(), support, 0)
    found = setup.predict(learner, learner.initial(), state, queries).argmax(1)
    for query, label in zip(queries, found, strict=True):
        if metric == "cosine":
            near = [float(query @ x / x.norm()) for x in support.x]
        else:
            near = [-float((query - x).norm()) for x in support.x]
        assert label == support.y[near.index(max(near))]
