"""SNAIL on images: its blocks, what a query is given, the last position alone, gradients."""

import pytest
import torch
import torch.nn.functional as F

from maml_bench.core.outer import take
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.setups._shared import snail_blocks
from maml_bench.setups._shared.snail_blocks import Attention, Dense
from maml_bench.setups.snail import SNAIL
from maml_bench.types import Batch
from tests.setups.checks import EXACT, Identity, Smooth, drawn, hold, learner_of, tasks_of

SMALL = SNAIL(length=7, filters=2, shrink=32)


def test_the_blocks_are_those_of_the_paper() -> None:
    convolutions = [Dense(1, 128), Dense(2, 128), Dense(4, 128)]
    expected = [Attention(64, 32), *convolutions, Attention(256, 128), *convolutions, Attention(512, 256)]
    assert list(SNAIL(length=6).blocks) == expected


@pytest.mark.parametrize(
    ("recipe", "length", "value"),
    [
        ("omniglot-5w1s", 6, 0.9907),
        ("omniglot-5w5s", 26, 0.9978),
        ("omniglot-20w1s", 21, 0.9764),
        ("omniglot-20w5s", 101, 0.9936),
        ("mini-imagenet-5w1s", 6, 0.5571),
        ("mini-imagenet-5w5s", 26, 0.6888),
    ],
)
def test_recipes_read_the_support_and_one_query(recipe: str, length: int, value: float) -> None:
    found = resolve(recipe, preset="paper", setup="snail")
    assert found.setup["length"] == length == found.train.way * found.train.shot + 1
    [row] = [row for row in found.published if row.setup == "snail"]
    assert row.value == value


def test_a_query_is_the_last_position_of_the_whole_sequence() -> None:
    """Against one pass over support and query, with zeros in place of the label of the query."""
    learner = learner_of(lambda: Identity(4, 3), 3)
    meta = drawn(SMALL, learner)
    support, query = take(tasks_of(3, 2, 1, 2), 0)
    [state] = SMALL.adapt(learner, meta, support, 0)
    found = SMALL.predict(learner, meta, state, query.x)
    labels = F.one_hot(support.y, 3).double()
    for x, logits in zip(query.x, found, strict=True):
        whole = torch.cat([torch.cat([support.x, x[None]]).flatten(1), torch.cat([labels, labels[:1] * 0])], dim=1)
        start = snail_blocks.start(SMALL.blocks, "snail.", 7, whole)
        features, _ = snail_blocks.read(SMALL.blocks, meta, "snail.", whole, start)
        expected = meta["snail.answer.weight"] @ features[-1] + meta["snail.answer.bias"]
        torch.testing.assert_close(logits, expected, **EXACT)
    torch.testing.assert_close(
        SMALL.loss(learner, meta, take(tasks_of(3, 2, 1, 2), 0)), F.cross_entropy(found, query.y), **EXACT
    )


def test_a_support_that_is_longer_than_the_memory_is_a_sentence() -> None:
    learner = learner_of(lambda: Identity(4, 3), 3)
    x = torch.zeros(7, 4, dtype=torch.float64)
    with pytest.raises(MamlBenchError, match="sequences of 7 examples, but a support of 7 and one query are 8: set"):
        SMALL.adapt(learner, drawn(SMALL, learner), Batch(x, torch.zeros(7, dtype=torch.int64)), 0)


@pytest.mark.slow
def test_gradient_and_schedules() -> None:
    hold(SNAIL(length=7, filters=1, shrink=64), learner_of(lambda: Smooth(1, 3), 3), tasks_of(3, 2, 1, 1))
