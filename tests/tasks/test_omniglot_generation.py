"""Generation on Omniglot, on a store whose images tell their class and their grey level."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch

from maml_bench import registry
from maml_bench.data import splits, store
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.tasks.omniglot_generation import OmniglotGeneration
from maml_bench.types import Batch, Shape
from tests.golden.adapter import small_store

ALL = OmniglotGeneration(examples="all")


@pytest.fixture(autouse=True)
def images(monkeypatch):
    """The first row of an image writes down the row of its class in binary digits; below, a quarter is ink."""
    with small_store(), monkeypatch.context() as patch:
        names = store.manifest("omniglot").classes
        digits = 255 * ((np.arange(len(names))[:, None] >> np.arange(28)) & 1).astype(np.uint8)
        pixels = np.full((len(names), 20, 1, 28, 28), 64, dtype=np.uint8)
        pixels[:, :, 0, 0] = digits[:, None]
        patch.setattr(store, "load", lambda name, array: pixels)
        yield


def rows_of(x):
    """The rows of the classes that images ``[..., 1, 28, 28]`` are of."""
    return (x[..., 0, 0, :].long() << torch.arange(28)).sum(-1)


@pytest.mark.parametrize("split", splits.PARTS)
def test_an_episode_is_of_one_character_of_its_part_of_the_split(split):
    episode = ALL.sample(split, 0, 200, key=1, shape=Shape(1, 3, 2))
    rows = torch.cat([rows_of(episode.support.x), rows_of(episode.query.x)], dim=1)
    assert (rows == rows[:, :1]).all()
    names = store.manifest("omniglot").classes
    half = "evaluation" if split == "test" else "background"
    assert {names[row].partition("/")[0] for row in rows[:, 0].tolist()} == {half}
    own = splits.indices(splits.load_split("omniglot", "lake"), split, names)
    assert set(rows[:, 0].tolist()) <= set(own.tolist())


def test_grey_levels_are_the_probability_of_ink_and_are_sampled_anew():
    first, second = ALL.sample("train", 0, 400, key=1, shape=Shape(1, 1, 1)).query.x.split(200)
    ink = torch.cat([first, second])[..., 1:, :]
    assert set(ink.unique().tolist()) == {0.0, 1.0}
    assert float(ink.mean()) == pytest.approx(64 / 255, abs=4 * (0.19 / ink.numel()) ** 0.5)
    assert not torch.equal(first, second)
    again = ALL.sample("train", 37, 3, key=1, shape=Shape(1, 1, 1)).query.x
    assert torch.equal(again, first[37:40])


def test_the_query_is_the_same_after_any_number_of_examples_and_these_are_nested():
    episodes = [ALL.sample("test", 5, 3, key=2, shape=Shape(1, shot, 2)) for shot in (0, 1, 4, 9)]
    assert episodes[0].support.x.shape == (3, 0, 1, 28, 28)
    for fewer, more in pairwise(episodes):
        assert torch.equal(fewer.query.x, more.query.x)
        assert torch.equal(fewer.support.x, more.support.x[:, : fewer.support.x.shape[1]])


def test_training_shows_any_number_of_examples_and_tests_show_all():
    shape = Shape(1, 3, 2)
    tasks = OmniglotGeneration()
    shown = tasks.sample("train", 0, 2000, key=3, shape=shape).support.y
    counts = shown.sum(1).long().bincount()
    assert len(counts) == 4
    assert counts.min() > 400
    assert (shown.diff(dim=1) <= 0).all()
    for split in ("validation", "test"):
        assert (tasks.sample(split, 0, 50, key=3, shape=shape).support.y == 1).all()
    assert (ALL.sample("train", 0, 50, key=3, shape=shape).support.y == 1).all()


def test_the_loss_is_the_mean_over_the_images_that_count():
    x = torch.zeros(3, 1, 28, 28)
    predict = lambda x: torch.tensor([-1.0, -2.0, -6.0])[: len(x)]  # noqa: E731
    assert float(ALL.loss(predict, Batch(x, torch.tensor([1.0, 1.0, 0.0])))) == 1.5
    assert float(ALL.score(predict, Batch(x, torch.ones(3)))) == 3.0
    assert float(ALL.loss(predict, Batch(x, torch.zeros(3)))) == 0.0
    assert float(ALL.loss(predict, Batch(x[:0], torch.zeros(0)))) == 0.0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ALL.sample("test", 0, 1, key=0, shape=Shape(5, 1, 1)), "way is 5, but an episode of omniglot_"),
        (lambda: ALL.sample("test", 0, 1, key=0, shape=Shape(1, 15, 6)), "need 21 examples of each class, but"),
        (lambda: ALL.sample("valid", 0, 1, key=0, shape=Shape(1, 1, 1)), "a class split has no part 'valid'"),
        (lambda: tasks_for("protonet"), "the setup tells classes apart, and omniglot_generation has no classes"),
        (lambda: tasks_for("vae", "sinusoid"), "the setup is a density, and sinusoid is not scored by one"),
        (lambda: resolve("sinusoid-k10", preset="smoke", settings=["train.shot=0"]), "train.shot is 0, but must be at"),
        (
            lambda: resolve("omniglot-5w1s", preset="smoke", settings=["validation.shot=0"]),
            "validation.shot is 0, but must be at least 1: omniglot needs examples",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_sentence(call, sentence):
    with pytest.raises(MamlBenchError, match=re.escape(sentence)) as caught:
        call()
    assert "\n" not in str(caught.value)


def tasks_for(setup, tasks="omniglot_generation"):
    return registry.build_tasks({"name": tasks}, "here", registry.build_setup({"name": setup}, "here"))
