"""Sinusoids: the formula, the ranges, and the test tasks of the released code."""

import math

import numpy as np
import pytest
import torch

from maml_bench.tasks.sinusoid import Sinusoid
from maml_bench.types import Batch, Shape

SHAPE = Shape(1, 10, 10)


def test_targets_follow_the_formula() -> None:
    episode = Sinusoid(reveal=True).sample("train", 0, 50, key=1, shape=SHAPE)
    for batch in episode:
        x, amplitude, phase = batch.x.unbind(-1)
        torch.testing.assert_close(batch.y[..., 0], amplitude * torch.sin(x - phase))
        assert (amplitude == amplitude[:, :1]).all()


def test_ranges_are_the_papers() -> None:
    x, amplitude, phase = Sinusoid(reveal=True).sample("train", 0, 4000, key=1, shape=SHAPE).support.x.unbind(-1)
    for values, low, high in ((x, -5, 5), (amplitude, 0.1, 5), (phase, 0, math.pi)):
        assert low <= float(values.min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(values.max()) <= high


def test_reveal_adds_inputs_and_changes_nothing_else() -> None:
    plain, told = (Sinusoid(reveal=r).sample("train", 3, 5, key=1, shape=SHAPE) for r in (False, True))
    assert torch.equal(plain.query.y, told.query.y)
    assert torch.equal(plain.query.x[..., 0], told.query.x[..., 0])
    assert (plain.query.x.shape[-1], told.query.x.shape[-1]) == (1, 3)


@pytest.mark.parametrize("k", [5, 10, 20])
def test_test_tasks_are_those_of_the_released_code(k: int) -> None:
    """The draws of data_generator.py (cbfinn/maml) with one task a batch, after numpy.random.seed(1), written out."""
    numpy = np.random.RandomState(1)
    episode = Sinusoid().sample("test", 0, 600, key=0, shape=Shape(1, k, k))
    for task in range(600):
        amplitude = numpy.uniform(0.1, 5.0, [1])
        phase = numpy.uniform(0, np.pi, [1])
        inputs = numpy.uniform(-5.0, 5.0, [2 * k, 1])
        outputs = amplitude[0] * np.sin(inputs - phase[0])
        np.testing.assert_array_equal(episode.support.x[task], inputs[:k].astype(np.float32))
        np.testing.assert_array_equal(episode.query.y[task], outputs[k:].astype(np.float32))


def test_the_first_test_task_is_a_known_one() -> None:
    """RandomState(1) starts 0.417022..., so A = 0.1 + 4.9 * 0.417022 = 2.143408."""
    episode = Sinusoid(reveal=True).sample("test", 0, 1, key=123, shape=Shape(1, 5, 5))
    assert float(episode.support.x[0, 0, 1]) == pytest.approx(0.1 + 4.9 * 0.417022004702574)
    assert float(episode.support.x[0, 0, 2]) == pytest.approx(math.pi * 0.7203244934421581)


def test_test_tasks_do_not_depend_on_key_or_batch() -> None:
    tasks = Sinusoid()
    whole, part = (
        tasks.sample("test", first, count, key=key, shape=SHAPE) for first, count, key in ((0, 9, 1), (4, 5, 2))
    )
    assert torch.equal(whole.query.x[4:], part.query.x)


def test_training_and_validation_tasks_differ() -> None:
    one, other = (Sinusoid().sample(split, 0, 4, key=1, shape=SHAPE) for split in ("train", "validation"))
    assert not torch.equal(one.support.x, other.support.x)


def test_the_network_is_the_papers() -> None:
    model = Sinusoid().model(SHAPE, torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in model.parameters()) == 1761
    assert max(float(p.detach().abs().max()) for p in model.parameters()) <= 0.02


def test_loss_is_the_mean_over_points() -> None:
    batch = Batch(torch.zeros(4, 1), torch.tensor([[1.0], [1.0], [3.0], [1.0]]))
    assert float(Sinusoid().loss(lambda x: x, batch)) == 3.0
    assert float(Sinusoid().score(lambda x: x, batch)) == 3.0


def test_exhibit_shows_test_tasks_with_their_support() -> None:
    tasks = Sinusoid()
    shown = tasks.exhibit(lambda x, support, shape: {0: x[0] * 0, 1: x[0] + float("nan")})
    assert [curve["shot"] for curve in shown["curves"]] == [5, 10]
    first = shown["curves"][0]
    episode = tasks.sample("test", 0, 1, key=0, shape=Shape(1, 5, 5))
    assert first["support_x"] == pytest.approx(episode.support.x.flatten().tolist(), rel=1e-4)
    assert len(first["x"]) == len(first["true"]) == len(first["predictions"]["0"]) == 201
    assert first["predictions"]["1"] == [None] * 201
    nearest = min(range(201), key=lambda i: abs(first["x"][i] - first["support_x"][0]))
    assert first["true"][nearest] == pytest.approx(first["support_y"][0], abs=0.2)


def test_a_pool_is_a_fixed_set_of_training_tasks_with_new_points() -> None:
    tasks = Sinusoid(reveal=True, pool=4)
    x = tasks.sample("train", 0, 12, key=1, shape=SHAPE).support.x
    waves = x[:, 0, 1:]
    assert torch.equal(waves[:4], waves[4:8])
    assert torch.equal(waves[:4], waves[8:])
    assert len(waves[:4].unique(dim=0)) == 4
    assert len(x[..., 0].unique()) == x[..., 0].numel()
    assert torch.equal(tasks.sample("train", 5, 2, key=1, shape=SHAPE).support.x, x[5:7])
    unseen = tasks.sample("validation", 0, 12, key=1, shape=SHAPE).support.x[:, 0, 1:]
    assert len(unseen.unique(dim=0)) == 12
