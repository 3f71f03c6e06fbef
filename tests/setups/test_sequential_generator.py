"""The sequential generator: its bound against an exact log-density, its gradient, and its windows of attention."""

import math
from dataclasses import replace

import pytest
import torch

from maml_bench.core.outer import meta_gradient
from maml_bench.engine.meta_step import MetaStep
from maml_bench.errors import MamlBenchError
from maml_bench.setups._shared.attention import window
from maml_bench.setups._shared.bounds import log_bernoulli
from maml_bench.setups.sequential_generator import SequentialGenerator, _Turn
from maml_bench.types import Batch
from tests.core.test_gradients import mean_loss
from tests.setups.checks import drawn
from tests.setups.test_latent import EXACT, episodes, images, learner

TINY = SequentialGenerator(turns=2, latent=1, units=3, size=3, samples=5)
GRID = torch.linspace(-6, 6, 41, dtype=torch.float64)


def exact(meta, state, x):
    """The log-density ``[n]`` with two turns of one latent variable each, by the trapezoidal rule in both."""
    weight = -(GRID**2) / 2 - math.log(2 * math.pi) / 2 + math.log(float(GRID[1] - GRID[0]))
    turn, total, count = TINY._start(meta, 1), torch.zeros(1, dtype=torch.float64), len(GRID)
    for _ in range(2):
        turn = _Turn(*(part.repeat_interleave(count, 0) for part in turn))
        glimpse = TINY._glimpse(meta, state, turn)
        mean, log_sd = TINY._prior(meta, turn, glimpse)
        noise = GRID.repeat(len(mean) // count).unsqueeze(1)
        turn = TINY._drawn(meta, turn, glimpse, mean + log_sd.exp() * noise)
        total = total.repeat_interleave(count) + weight.repeat(len(mean) // count)
    each = [log_bernoulli(turn.canvas, one.expand_as(turn.canvas)) for one in x.squeeze(1)]
    return (torch.stack(each) + total).logsumexp(1)


def adapted(support, weight=None):
    built = learner()
    meta = drawn(TINY, built)
    weight = torch.ones(len(support)).double() if weight is None else weight
    return built, meta, TINY.adapt(built, meta, Batch(support, weight), 0)[0]


def test_the_bound_rises_with_the_samples_to_the_exact_log_density():
    built, meta, state = adapted(images(3, seed=9))
    x = images(30)
    truth = float(exact(meta, state, x).mean())
    bounds = [float(TINY.elbo(meta, state, x).mean())]
    bounds += [float(replace(TINY, samples=s).predict(built, meta, state, x).mean()) for s in (10, 500)]
    assert bounds[0] < truth - 0.3, "the encoder is so good that this tells nothing"
    assert bounds[0] < bounds[1] < truth
    assert bounds[2] == pytest.approx(truth, abs=0.08)


def test_the_gradient_is_that_of_finite_differences_and_the_same_under_every_schedule():
    built, tasks = learner(), episodes()
    meta = drawn(TINY, built)
    gradient, _ = meta_gradient(TINY, built, meta, tasks, schedule_name="loop")
    generator = torch.Generator().manual_seed(4)
    for _ in range(4):
        way = {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in meta.items()}
        ends = [mean_loss(TINY, built, {n: p + s * way[n] for n, p in meta.items()}, tasks) for s in (1e-6, -1e-6)]
        slope = sum(float((gradient[name] * way[name]).sum()) for name in meta)
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-5)
    for schedule in ("vmap", "traced"):
        found, _ = MetaStep(TINY, built, schedule=schedule).gradient(meta, tasks)
        torch.testing.assert_close(found, gradient, rtol=1e-9, atol=1e-9)


def test_hidden_examples_are_as_none_and_shown_ones_matter_in_no_order():
    x, support = images(2, seed=5), images(3)
    found = []
    none, shown = torch.zeros(3), torch.ones(3)
    cases = ((support[:0], none[:0]), (support, none), (support, shown), (support.flip(0), shown))
    for examples, weight in cases:
        built, meta, state = adapted(examples, weight.double())
        found.append(TINY.predict(built, meta, state, x))
    torch.testing.assert_close(found[0], found[1], **EXACT)
    assert not torch.allclose(found[1], found[2])
    torch.testing.assert_close(found[2], found[3], **EXACT)


def test_images_are_drawn_black_and_white():
    built, meta, state = adapted(images(2))
    noise = torch.rand(5, 2, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert set(TINY.draw(built, meta, state, noise).unique().tolist()) == {0.0, 1.0}


def test_more_latent_variables_than_pixels_are_refused_in_a_sentence():
    with pytest.raises(
        MamlBenchError, match=r"setup.turns \* setup.latent is 800, but an image has at most 784 latent"
    ):
        SequentialGenerator(turns=80, latent=10)


def test_a_window_reads_where_it_stands_and_writes_there():
    numbers = torch.zeros(3, 5, dtype=torch.float64)
    numbers[1, :2] = torch.tensor([1.0, -1.0])  # the corner at the right of the first row
    numbers[:2, 2:4] = -6.0  # sharp and narrow; the third covers the image
    places = window(numbers, 5, 9)
    image = torch.zeros(1, 9, 9, dtype=torch.float64)
    image[0, 4, 4], image[0, 0, 8] = 2.0, 3.0
    read = places.read(image)
    torch.testing.assert_close(read[0], torch.full((5, 5), 2.0).double(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(read[1], torch.full((5, 5), 3.0).double(), rtol=1e-6, atol=1e-6)
    constant = places.read(torch.ones(1, 9, 9).double())
    torch.testing.assert_close(constant, torch.ones_like(constant), rtol=1e-6, atol=1e-6)
    written = places.write(torch.ones(3, 5, 5).double())
    assert written[1].argmax() == 8
    assert float(written[1].sum()) == pytest.approx(25, rel=1e-6)
    many = places.read(torch.stack([image, 2 * image], dim=1))
    torch.testing.assert_close(many[:, 1], 2 * many[:, 0])
