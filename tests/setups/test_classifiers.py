"""What setups with one classifier over all training classes share: its training, and an adaptation without chance."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maml_bench.core.evaluate import evaluate
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.outer import meta_gradient
from maml_bench.core.setup import Capability
from maml_bench.engine.execution import Execution
from maml_bench.engine.scoring import Scorer
from maml_bench.harness.recipe import resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.harness.seeding import generator
from maml_bench.registry import build_tasks, setup_class, setup_names
from maml_bench.setups._shared.classifier import Classifier, in_turn
from maml_bench.types import Batch, Episode, Params
from tests.core.conftest import SmoothConv, built, fill
from tests.core.test_gradients import finite_differences, relative_error
from tests.engine.test_meta_step import NETWORKS

CLASSES, WAY = 7, 3
NAMES = [name for name in setup_names() if issubclass(setup_class(name), Classifier)]
SETUPS = {
    **{name: setup_class(name)() for name in NAMES},
    "nearest_neighbour-euclidean": setup_class("nearest_neighbour")(metric="euclidean"),
    "baseline-whole_support": setup_class("baseline")(batch=0),
}
over_setups = pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)


def learner_of(network: str, outputs: int = CLASSES) -> Learner:
    """A network that answers all classes, before tasks of fewer; its score is smooth, so that agreement means it."""
    make, _ = NETWORKS.get(network, (SmoothConv, 9))
    model = fill(built(lambda: make(outputs)), 0)

    def score(predict, batch: Batch) -> Tensor:
        return F.log_softmax(predict(batch.x), -1).gather(1, batch.y.unsqueeze(1)).mean()

    return Learner(model, lambda p, b: F.cross_entropy(p(b.x), b.y), score, Inner(0.1, 0), WAY)


def episodes_of(network: str, *, labels: int, shot: int = 2, tasks: int = 3) -> Episode:
    """Tasks of ``WAY`` classes, labels ``0 .. labels - 1``; the support is not in the order of its labels."""
    start = torch.Generator().manual_seed(5)
    _, size = NETWORKS.get(network, (SmoothConv, 9))
    x = torch.rand(tasks, 2 * WAY * shot, 1, size, size, generator=start, dtype=torch.float64)
    kinds = torch.stack([torch.randperm(labels, generator=start)[:WAY] for _ in range(tasks)])
    y = kinds.repeat(1, 2 * shot)
    n = WAY * shot
    return Episode(Batch(x[:, :n], y[:, :n]), Batch(x[:, n:], y[:, n:]))


def start_of(setup: Classifier, learner: Learner) -> Params:
    return setup.init(learner, torch.Generator().manual_seed(1))


def test_there_are_four() -> None:
    assert NAMES == ["baseline", "baseline_pp", "fine_tuning", "nearest_neighbour"]
    assert all(setup_class(name).capabilities == {Capability.TRAINS, Capability.TRAINS_JOINTLY} for name in NAMES)


@over_setups
def test_the_gradient_of_the_joint_loss_equals_finite_differences(setup: Classifier) -> None:
    learner, episodes = learner_of("smooth"), episodes_of("smooth", labels=CLASSES)
    meta = start_of(setup, learner)
    grads, _ = meta_gradient(setup, learner, meta, episodes)
    assert relative_error(grads, finite_differences(setup, learner, meta, episodes)) < 1e-6


@pytest.mark.parametrize("name", [name for name in NAMES if name != "baseline_pp"])
def test_training_is_the_cross_entropy_of_the_whole_network(name: str) -> None:
    """A head of zeros knows nothing of seven classes: its loss is log 7, and it takes labels up to 6."""
    learner, episodes = learner_of("strided"), episodes_of("strided", labels=CLASSES)
    meta = start_of(SETUPS[name], learner)
    _, losses = meta_gradient(SETUPS[name], learner, meta, episodes)
    for loss, x, y in zip(losses, *episodes.support, strict=True):
        assert loss.item() == pytest.approx(F.cross_entropy(learner.model(x), y).item())
    blank = meta | {n: torch.zeros_like(p) for n, p in meta.items() if learner.is_head(n)}
    _, losses = meta_gradient(SETUPS[name], learner, blank, episodes)
    torch.testing.assert_close(losses, torch.full_like(losses, math.log(CLASSES)))


@over_setups
def test_training_never_looks_at_the_query(setup: Classifier) -> None:
    learner, episodes = learner_of("strided"), episodes_of("strided", labels=CLASSES)
    meta = start_of(setup, learner)
    expected, _ = meta_gradient(setup, learner, meta, episodes)
    wrong = Episode(episodes.support, Batch(torch.full_like(episodes.query.x, torch.nan), episodes.query.y))
    found, _ = meta_gradient(setup, learner, meta, wrong)
    assert all(torch.equal(found[n], expected[n]) for n in expected)


@over_setups
def test_a_task_is_answered_in_its_own_classes_and_always_alike(setup: Classifier) -> None:
    """Seven training classes, three of a task; what was adapted before does not matter."""
    learner, episodes = learner_of("strided"), episodes_of("strided", labels=WAY)
    meta = start_of(setup, learner)
    before = {n: p.clone() for n, p in meta.items()}
    answers = []
    for task in (0, 1, 0):
        support = Batch(*(t[task] for t in episodes.support))
        state = setup.adapt(learner, meta, support, 4)[-1]
        answers.append(setup.predict(learner, meta, state, episodes.query.x[0]))
    assert answers[0].shape == (len(episodes.query.x[0]), WAY)
    assert torch.equal(answers[0], answers[2])
    assert not torch.allclose(answers[0], answers[1])
    assert all(torch.equal(before[n], meta[n]) for n in meta)


@over_setups
def test_it_faces_fewer_classes_than_it_was_trained_with(setup: Classifier) -> None:
    learner = learner_of("strided")
    meta = start_of(setup, learner)
    x = episodes_of("strided", labels=WAY).support.x[0, :2]
    learner = learner.with_way(2)
    state = setup.adapt(learner, meta, Batch(x, torch.tensor([1, 0])), 2)[-1]
    assert setup.predict(learner, meta, state, x).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "network"), [*((name, "strided") for name in SETUPS), ("baseline", "users"), ("baseline_pp", "pooled")]
)
def test_all_schedules_adapt_alike(name: str, network: str) -> None:
    setup = SETUPS[name]
    learner, episodes = learner_of(network), episodes_of(network, labels=WAY)
    meta = start_of(setup, learner)
    reference = evaluate(setup, learner, meta, episodes, (0, 3), schedule_name="loop", chunk=1)
    assert reference.isfinite().all()
    for schedule in ("vmap", "traced"):
        found = Scorer(setup, Execution(learner, schedule)).scores(meta, episodes, (0, 3))
        torch.testing.assert_close(found, reference, rtol=1e-10, atol=1e-10)


def test_batches_go_around_the_end_until_all_have_had_equally_many() -> None:
    found = in_turn(Batch(torch.arange(5.0), torch.arange(5)), 4)
    assert [b.y.tolist() for b in found] == [[0, 1, 2, 3], [4, 0, 1, 2], [3, 4, 0, 1], [2, 3, 4, 0], [1, 2, 3, 4]]
    assert all(torch.equal(b.x, b.y.float()) for b in found)
    assert [b.y.tolist() for b in in_turn(Batch(torch.arange(2.0), torch.arange(2)), 4)] == [[0, 1, 0, 1]] * 2


@pytest.mark.parametrize("name", NAMES)
def test_recipes_train_without_a_query_and_test_like_the_others(name: str) -> None:
    """The first test is the recipe's own, on the episodes that all setups meet."""
    for recipe in load_files():
        if not re.match(r"(omniglot|mini-imagenet)-\d+w\d+s", recipe):
            continue
        for preset in ("quick", "paper"):
            mine, others = (resolve(recipe, preset=preset, setup=setup) for setup in (name, "maml"))
            assert mine.tasks["joint"]
            assert (mine.train.shot, mine.train.query, mine.outer.meta_batch, mine.outer.clip) == (1, 0, 1, 0)
            assert mine.inner.outside == ()
            assert (mine.test[0].shape, mine.test[0].episodes) == (others.test[0].shape, others.test[0].episodes)
            assert mine.train.way >= mine.test[0].way
            assert all(row.shot == mine.test[0].shot for row in mine.published if row.setup == name)


@pytest.mark.real_data
@pytest.mark.parametrize("name", NAMES)
def test_the_head_has_an_output_for_every_training_class(name: str, omniglot) -> None:
    """1,100 characters train in the split of the MAML code, whatever their turn in a task."""
    recipe = resolve("omniglot-5w1s", preset="smoke", setup=name)
    tasks = build_tasks(recipe.tasks, "test")
    network = tasks.model(recipe.train.shape, generator("init", 0))
    assert network.head.weight.shape[0] == 1100
    episodes = tasks.sample("train", 0, 80, key=0, shape=recipe.train.shape)
    assert episodes.query.x.shape[1] == 0
    assert episodes.support.y.shape == (80, recipe.train.way)
    met = 1100 * (1 - (1 - recipe.train.way / 1100) ** 80)
    assert len(episodes.support.y.unique()) == pytest.approx(met, rel=0.06)
    assert int(tasks.sample("test", 0, 3, key=0, shape=recipe.test[0].shape).support.y.max()) == 4
