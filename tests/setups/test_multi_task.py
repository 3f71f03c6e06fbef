"""Multi-task: each regressor learns its own task, at test their mean is adapted."""

import pytest
import torch
from torch import Tensor

from maml_bench.core.outer import meta_gradient, take
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.setups.multi_task import MultiTask
from tests.core.conftest import Make, by_hand
from tests.core.test_gradients import relative_error
from tests.engine.test_meta_step import gradients_agree


def three(learner, **options) -> tuple[MultiTask, dict[str, Tensor]]:
    setup = MultiTask(regressors=3, **options)
    return setup, setup.init(learner, torch.Generator().manual_seed(0))


def test_regressors_start_apart_with_values_of_the_network(regression: Make) -> None:
    learner, meta, _ = regression()
    _, many = three(learner)
    for name, p in meta.items():
        stack = many[f"regressors.{name}"]
        assert stack.shape == (3, *p.shape)
        assert all(torch.equal(row.flatten().sort()[0], p.flatten().sort()[0]) for row in stack)
        assert p.numel() < 3 or not torch.equal(stack[0], stack[1])
        assert torch.equal(many[name], p)


@pytest.mark.parametrize("regulariser", ["none", "l2", "mean"])
def test_a_regressor_has_the_gradient_of_its_own_loss(regulariser: str, regression: Make) -> None:
    """Whatever their number: no mean over tasks, nothing of the other tasks, nothing of the query."""
    learner, _, episodes = regression(tasks=3)
    setup, meta = three(learner, regulariser=regulariser, strength=0.3)
    grads, losses = meta_gradient(setup, learner, meta, episodes)
    expected = {name: torch.zeros_like(p) for name, p in meta.items()}
    means = {name: meta[f"regressors.{name}"].mean(0) for name in learner.names}
    for k in range(3):
        own = {name: meta[f"regressors.{name}"][k].clone().requires_grad_() for name in learner.names}
        loss = learner.batch_loss(own, take(episodes.support, k))
        assert losses[k].item() == pytest.approx(loss.item())
        if regulariser != "none":
            from_ = means if regulariser == "mean" else dict.fromkeys(own, 0.0)
            loss = loss + 0.3 / 2 * sum(((p - from_[name]) ** 2).sum() for name, p in own.items())
        for name, g in zip(own, torch.autograd.grad(loss, list(own.values())), strict=True):
            expected[f"regressors.{name}"][k] = g
    assert relative_error(grads, expected) < 1e-12


def test_the_mean_is_adapted(regression: Make) -> None:
    learner, _, episodes = regression(tasks=3)
    setup, meta = three(learner)
    support = take(episodes.support, 0)
    means = {name: meta[f"regressors.{name}"].mean(0).requires_grad_() for name in learner.names}
    path = setup.adapt(learner, meta, support, 2)
    torch.testing.assert_close(path[0], means)
    torch.testing.assert_close(path[2], by_hand(learner, means, support, 2, graph=False))


@pytest.mark.parametrize("options", [{"schedule": "vmap"}, {"schedule": "traced"}, {"schedule": "vmap", "chunk": 1}])
def test_schedules_agree_and_never_split_the_pool(options: dict, regression: Make) -> None:
    learner, _, episodes = regression(tasks=3)
    setup, _ = three(learner, regulariser="mean", strength=0.1)
    gradients_agree(setup, learner, episodes, limit=1e-10, **options)


def test_its_tasks_come_back_and_stand_in_the_recipe() -> None:
    found = resolve("sinusoid-k10", preset="paper", setup="multi_task")
    assert found.tasks["pool"] == found.outer.meta_batch == found.setup["regressors"] == 500
    assert "pool" not in resolve("sinusoid-k10", preset="paper").tasks


@pytest.mark.parametrize(
    ("recipe", "settings", "sentence"),
    [
        ("omniglot-5w1s", ["outer.meta_batch=500"], "the same tasks again at every step, which omniglot lacks"),
        ("sinusoid-k10", ["outer.meta_batch=25"], "meta_batch is 25, but multi_task needs all its tasks in one, 500"),
    ],
)
def test_tasks_that_do_not_fit_are_a_sentence(recipe: str, settings: list[str], sentence: str) -> None:
    with pytest.raises(MamlBenchError, match=sentence):
        resolve(recipe, preset="paper", setup="multi_task", settings=settings)
