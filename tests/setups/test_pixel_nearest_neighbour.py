"""Nearest neighbour on pixels: small images by hand, and a network that must not matter."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maml_bench.core.learner import Inner, Learner
from maml_bench.harness.recipe import resolve
from maml_bench.setups.pixel_nearest_neighbour import PixelNearestNeighbour
from maml_bench.types import Batch
from tests.core.conftest import built

SUPPORT = Batch(torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]], [[[6.0, 6.0]]]]), torch.tensor([2, 0, 1]))


@pytest.mark.parametrize(("metric", "expected"), [("cosine", [1, 2, 0]), ("euclidean", [2, 1, 0])])
def test_a_query_gets_the_label_of_the_nearest_image(metric: str, expected: list[int]) -> None:
    """(2, 1.9) lies nearest (1, 0), but in the direction of (6, 6); (9, 1) the other way round."""
    model = built(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 3)))
    learner = Learner(model, lambda p, b: F.cross_entropy(p(b.x), b.y), lambda p, b: p(b.x).mean(), Inner(0.1, 0), 3)
    setup, no_network = PixelNearestNeighbour(metric), {}
    [state] = setup.adapt(learner, no_network, SUPPORT, 5)
    query = torch.tensor([[[[2.0, 1.9]]], [[[9.0, 1.0]]], [[[0.1, 0.9]]]])
    assert setup.predict(learner, no_network, state, query).argmax(1).tolist() == expected


def test_it_has_no_budget() -> None:
    assert resolve("omniglot-5w1s", preset="paper", setup="pixel_nearest_neighbour").outer.steps == 0
