"""Omniglot's tasks within one alphabet, on a store whose images tell their class."""

import numpy as np
import pytest
import torch

from maml_bench.data import store
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.tasks.omniglot import Omniglot
from maml_bench.types import Shape
from tests.golden.adapter import small_store


@pytest.fixture(autouse=True)
def images(monkeypatch):
    """The pixels of each class write down its row in binary digits, so that images show where they come from."""
    with small_store(), monkeypatch.context() as patch:  # undone in this order, or the small store would stay
        names = store.manifest("omniglot").classes
        digits = (np.arange(len(names))[:, None] >> np.arange(784)[None].clip(max=15)) & 1
        pixels = np.repeat(255 * digits.astype(np.uint8).reshape(-1, 1, 1, 28, 28), 20, axis=1)
        patch.setattr(store, "load", lambda name, array: pixels)
        yield


def alphabets(tasks: Omniglot, split: str, count: int, way: int) -> list[set[str]]:
    """The alphabets of each of ``count`` tasks."""
    names = store.manifest("omniglot").classes
    found = tasks.sample(split, 0, count, key=3, shape=Shape(way, 1, 1))
    assert sorted(found.support.y[0].tolist()) == list(range(way))
    digits = found.support.x.flatten(2)[:, :, :15].round().long()
    rows = (digits << torch.arange(15)).sum(-1)
    assert all(len(set(task.tolist())) == way for task in rows)
    return [{names[row].rpartition("/")[0] for row in task} for task in rows.tolist()]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_all_classes_of_a_task_are_of_one_alphabet(split: str) -> None:
    within = Omniglot(split="vinyals", rotations="none", within_alphabet=True)
    found = alphabets(within, split, 60, 5)
    assert all(len(task) == 1 for task in found)
    assert len(set.union(*found)) > 3
    assert any(len(task) > 1 for task in alphabets(Omniglot(split="vinyals", rotations="none"), split, 60, 5))


def test_an_episode_depends_on_its_number_alone() -> None:
    tasks = Omniglot(within_alphabet=True)
    shape = Shape(5, 1, 2)
    together, alone = tasks.sample("test", 0, 6, key=1, shape=shape), tasks.sample("test", 4, 1, key=1, shape=shape)
    assert torch.equal(together.query.x[4:5], alone.query.x)
    assert torch.equal(together.query.y[4:5], alone.query.y)


def test_small_alphabets_are_left_out_and_a_split_without_others_is_refused() -> None:
    tasks = Omniglot(rotations="none", within_alphabet=True)
    assert len(tasks._alphabets("test", 5)) == 40
    with pytest.raises(
        MamlBenchError, match="needs an alphabet of 20 classes, but in the validation part of the split"
    ):
        tasks.sample("validation", 0, 1, key=0, shape=Shape(20, 1, 1))


def test_it_does_not_count_in_the_ids_of_recipes_without_it() -> None:
    assert "within_alphabet" not in resolve("omniglot-5w1s", preset="paper").plain()["tasks"]
    other = resolve("omniglot-5w1s", preset="paper", settings=["tasks.within_alphabet=true"])
    assert other.recipe_id != resolve("omniglot-5w1s", preset="paper").recipe_id
