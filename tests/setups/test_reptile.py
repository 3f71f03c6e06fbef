"""Reptile: the batches of its test steps, and its own network and tests in the recipes."""

import torch

from maml_bench.core.outer import take
from maml_bench.harness.recipe import resolve
from maml_bench.setups.reptile import Reptile
from maml_bench.types import Batch
from tests.core.conftest import Make, by_hand


def test_test_steps_go_through_the_support_in_batches_around_its_end(classification: Make) -> None:
    learner, meta, episodes = classification(steps=1)
    support = take(episodes.support, 0)
    path = Reptile(inner_optimiser="sgd", test_batch=2).adapt(learner, meta, support, 3)
    params = {n: p.clone().requires_grad_() for n, p in meta.items()}
    for reached, rows in zip(path[1:], ([0, 1], [2, 0], [1, 2]), strict=True):
        params = by_hand(learner, params, Batch(support.x[rows], support.y[rows]), 1, graph=False)
        torch.testing.assert_close(reached, params)


def test_without_a_batch_size_each_test_step_sees_the_whole_support(classification: Make) -> None:
    learner, meta, episodes = classification(steps=1)
    support = take(episodes.support, 0)
    whole, three = (Reptile(test_batch=size).adapt(learner, meta, support, 2)[-1] for size in (0, 3))
    torch.testing.assert_close(whole, three)


def test_its_recipes_have_its_network_and_both_tests() -> None:
    for name in ("omniglot-5w1s", "omniglot-20w5s", "mini-imagenet-5w5s"):
        found = resolve(name, preset="paper", setup="reptile")
        assert (found.tasks["conv"]["affine"], found.tasks["conv"]["average"]) == (True, False)
        assert [test.normalisation for test in found.test] == ["transductive", "one by one"]
        assert {row.normalisation for row in found.published if row.setup == "reptile"} == {None, "one by one"}
        assert found.inner.outside == ()
        assert found.outer.decay == "linear"
    mini = resolve("mini-imagenet-5w5s", preset="paper", setup="reptile")
    assert (mini.train.shot, mini.inner.steps, mini.outer.steps, mini.outer.clip) == (15, 8, 100_000, 0.0)
    assert (mini.setup["inner_batch"], mini.setup["test_batch"]) == (10, 15)
