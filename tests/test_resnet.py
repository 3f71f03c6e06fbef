"""ResNet-12 has the published size, exact gradients under every schedule, and embeddings for setups that compare."""

import pytest
import torch
import torch.nn.functional as F

from maml_bench.classification import Classification
from maml_bench.core.evaluate import evaluate
from maml_bench.core.learner import Inner, Learner
from maml_bench.engine.meta_step import MetaStep
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.models import BatchNorm, Normalise
from maml_bench.registry import build_tasks, setup_class
from maml_bench.resnet import Residual, ResNet12
from maml_bench.types import Batch, Episode

SMALL = Residual(widths=(8, 8, 16, 16))
PUBLISHED = 12_424_320
"""Parameters without the last layer; see the docstring of maml_bench.resnet."""


def network(normalise: Normalise = "batch", options: Residual = SMALL, way: int = 3, channels: int = 1) -> ResNet12:
    return ResNet12(channels, 16, way, options, normalise=normalise, generator=torch.Generator().manual_seed(0))


def episodes(tasks: int = 2, way: int = 3, shot: int = 2) -> Episode:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, tasks, way * shot, 1, 16, 16, generator=generator, dtype=torch.float64)
    y = torch.arange(way).repeat(shot).expand(tasks, -1)
    return Episode(Batch(x[0], y), Batch(x[1], y))


def learner_of(model: torch.nn.Module, steps: int = 1) -> Learner:
    def loss(predict, batch):
        return F.cross_entropy(predict(batch.x), batch.y)

    return Learner(model.double(), loss, Classification().score, Inner(0.1, steps), 3)


def test_the_backbone_has_the_published_number_of_parameters() -> None:
    model = ResNet12(3, 84, 5, normalise="batch", generator=torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in model.body.parameters()) == PUBLISHED
    assert model.head.in_features == 640
    assert model.body(torch.zeros(2, 3, 84, 84)).shape == (2, 640, 5, 5)


@pytest.mark.parametrize(("normalise", "layers"), [("batch", BatchNorm), ("group", torch.nn.GroupNorm), ("none", None)])
def test_normalisation_is_a_choice(normalise: Normalise, layers: type | None) -> None:
    found = [type(m) for m in network(normalise).modules() if isinstance(m, BatchNorm | torch.nn.GroupNorm)]
    assert found == [layers] * (16 if layers else 0)


@pytest.mark.parametrize(
    ("schedule", "normalise"), [("vmap", "batch"), ("vmap", "group"), ("vmap", "none"), ("traced", "batch")]
)
def test_the_schedules_give_the_gradient_of_a_loop(schedule: str, normalise: Normalise) -> None:
    learner = learner_of(network(normalise))
    meta, method = learner.initial(), setup_class("maml")()
    expected, _ = MetaStep(method, learner, schedule="loop").gradient(meta, episodes())
    found, _ = MetaStep(method, learner, schedule=schedule).gradient(meta, episodes())
    scale = max(float(g.abs().max()) for g in expected.values())
    assert max(float((found[n] - g).abs().max()) for n, g in expected.items()) <= 1e-10 * scale


def test_the_meta_gradient_agrees_with_finite_differences() -> None:
    learner = learner_of(network("group"))
    meta, method = learner.initial(), setup_class("maml")()
    grads, losses = MetaStep(method, learner, schedule="loop").gradient(meta, episodes())
    length = sum(float((g**2).sum()) for g in grads.values()) ** 0.5
    step = 1e-7
    moved = {name: p - step / length * grads[name] for name, p in meta.items()}
    _, after = MetaStep(method, learner, schedule="loop").gradient(moved, episodes())
    assert float(losses.mean() - after.mean()) == pytest.approx(step * length, rel=1e-3)


@pytest.mark.parametrize("setup", ["protonet", "matching", "r2d2", "anil", "boil", "nearest_neighbour"])
def test_setups_take_its_embeddings(setup: str) -> None:
    learner = learner_of(network())
    method = setup_class(setup)()
    meta = method.init(learner, torch.Generator().manual_seed(0))
    meta = {name: p.double() for name, p in meta.items()}
    scores = evaluate(method, learner, meta, episodes(), (1,))
    assert scores.shape == (2, 1)
    assert bool(scores.isfinite().all())


def test_small_images_and_a_missing_width_are_sentences() -> None:
    with pytest.raises(MamlBenchError, match="resnet12 needs images of at least 16 pixels a side, and these have 8"):
        ResNet12(1, 8, 5, SMALL, normalise="none", generator=torch.Generator())
    with pytest.raises(MamlBenchError, match=r"resnet\.widths is \[64\], but must have one entry for each of four"):
        Residual(widths=(64,))


@pytest.mark.parametrize("recipe", ["omniglot-5w1s", "mini-imagenet-5w1s"])
def test_every_recipe_on_images_takes_it_by_name(recipe: str) -> None:
    plain = resolve(recipe, preset="smoke")
    found = resolve(recipe, preset="smoke", network="resnet12", settings=["tasks.resnet.widths=[8,8,8,8]"])
    assert build_tasks(found.tasks, "test").network == "resnet12"
    assert found.recipe_id != plain.recipe_id
    assert "resnet" not in plain.tasks
    for setting in ("tasks.conv.filters=8", "tasks.conv.leak=0.1"):
        with pytest.raises(MamlBenchError, match=r"has no effect: it is read where tasks\.network is 'conv4'"):
            resolve(recipe, preset="smoke", network="resnet12", settings=[setting])
    with pytest.raises(MamlBenchError, match=r"has no effect: it is read where tasks\.network is 'resnet12'"):
        resolve(recipe, preset="smoke", settings=["tasks.resnet.leak=0.2"])


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
def test_it_answers_images_of_omniglot() -> None:
    found = resolve("omniglot-5w1s", preset="smoke", network="resnet12", settings=["tasks.resnet.widths=[8,8,8,8]"])
    tasks = build_tasks(found.tasks, "test")
    model = tasks.model(found.train.shape, torch.Generator().manual_seed(0))
    support = tasks.sample("train", 0, 1, key=0, shape=found.train.shape).support
    assert model(support.x[0]).shape == (5, 5)
