"""Prototypical networks: logits on paper, gradients, more classes in training than at test, the rate that halves."""

import pytest
import torch

from maml_bench.core.outer import take
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.harness.sections import Adam
from maml_bench.models import BatchNorm
from maml_bench.setups.protonet import ProtoNet
from maml_bench.types import Batch, Episode
from tests.setups.checks import EXACT, Identity, Smooth, hold, learner_of, tasks_of


def test_logits_are_minus_the_squared_distances_to_the_class_means() -> None:
    """Means (0, 2) and (4, 0); the query (1, 1) has squared distances 2 and 10."""
    learner = learner_of(lambda: Identity(2, 2), 2)
    x = torch.tensor([[0.0, 1], [3, 0], [0, 3], [5, 0]], dtype=torch.float64)
    [state] = ProtoNet().adapt(learner, learner.initial(), Batch(x, torch.tensor([0, 1, 0, 1])), 0)
    torch.testing.assert_close(state["prototypes"], torch.tensor([[0.0, 2], [4, 0]], dtype=torch.float64), **EXACT)
    for scale in (1.0, 0.5):
        logits = ProtoNet(scale).predict(learner, learner.initial(), state, torch.ones(1, 2, dtype=torch.float64))
        torch.testing.assert_close(logits, scale * torch.tensor([[-2.0, -10]], dtype=torch.float64), **EXACT)


@pytest.mark.slow
def test_gradient_and_schedules() -> None:
    hold(ProtoNet(scale=0.3), learner_of(lambda: Smooth(4, 3), 3), tasks_of(3, 2, 2, 4))


def test_one_training_batch_is_normalised_with_the_query() -> None:
    """Separate batches are each normalised by themselves, one batch by the statistics of support and query."""
    support, query = take(tasks_of(3, 2, 2, 4), 0)
    learner = learner_of(Normalised, 3)

    def loss(shown: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        means = torch.stack([shown[support.y == k].mean(0) for k in range(3)])
        return torch.nn.functional.cross_entropy(-(torch.cdist(asked, means) ** 2), query.y)

    def normal(x: torch.Tensor) -> torch.Tensor:
        return ((x - x.mean((0, 2, 3))) / (x.var((0, 2, 3), correction=0) + 1e-3).sqrt()).flatten(1)

    together = normal(torch.cat([support.x, query.x])).split([len(support.x), len(query.x)])
    for kind, expected in (("separate", loss(normal(support.x), normal(query.x))), ("one", loss(*together))):
        meta = learner.initial() | {"body.beta": torch.zeros(1, dtype=torch.float64)}
        found = ProtoNet(training_batches=kind).loss(learner, meta, Episode(support, query))
        torch.testing.assert_close(found, expected, **EXACT)


class Normalised(torch.nn.Module):
    """Batch normalisation of one channel of 4 x 4 pixels, flattened; the last layer is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = BatchNorm(1), torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).flatten(1))  # type: ignore[no-any-return]


def test_image_recipes_train_as_the_released_code() -> None:
    for name in ("omniglot-5w1s", "omniglot-20w5s", "mini-imagenet-5w1s", "mini-imagenet-5w5s"):
        assert resolve(name, preset="paper", setup="protonet").setup["training_batches"] == "one"


def test_fewer_classes_than_in_training_are_told_apart() -> None:
    learner = learner_of(lambda: Smooth(4, 6), 6).with_way(2)
    [state] = ProtoNet().adapt(learner, learner.initial(), take(tasks_of(2, 1, 1, 4), 0).support, 0)
    assert state["prototypes"].shape == (2, 32)


def test_the_rate_halves_every_so_many_steps() -> None:
    outer = Adam(steps=10, meta_batch=1, rate=0.8, decay="halve", halve_every=3)
    assert [outer.rate_at(step) for step in range(10)] == [0.8] * 3 + [0.4] * 3 + [0.2] * 3 + [0.1]
    for name, rate in (("omniglot-5w1s", 1e-3), ("mini-imagenet-5w5s", 1e-3)):
        outer = resolve(name, preset="paper", setup="protonet").outer
        assert (outer.rate_at(1999), outer.rate_at(2000)) == (rate, rate / 2)


def test_halving_without_a_period_is_a_sentence() -> None:
    with pytest.raises(MamlBenchError, match="halve_every is 0, but must be at least 1"):
        resolve("omniglot-5w1s", preset="smoke", settings=["outer.decay=halve"])
