"""Densities with latent variables: bounds against exact log-densities, gradients, and what no examples mean."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maml_bench.core.evaluate import evaluate
from maml_bench.core.learner import Inner, Learner
from maml_bench.errors import MamlBenchError
from maml_bench.models import Autoregressive
from maml_bench.setups._shared.bounds import AT_ONCE
from maml_bench.setups._shared.latent import LatentDensity
from maml_bench.setups.conditional_vae import ConditionalVAE
from maml_bench.setups.vae import VAE
from maml_bench.tasks.omniglot_generation import OmniglotGeneration
from maml_bench.types import Batch, Episode, Params
from tests.setups.checks import drawn, hold

TINY = {"latent": 1, "units": 2, "filters": 1}
SETUPS = [VAE(**TINY, samples=5), ConditionalVAE(**TINY, samples=5, summary=2)]
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def learner() -> Learner:
    """In float64, with a small network of the tasks, which these setups do not use."""
    tasks = OmniglotGeneration()
    model = Autoregressive(28, 1, 0, 0, torch.Generator().manual_seed(0)).double()
    return Learner(model, tasks.loss, tasks.score, Inner(0.0, 0))


def images(*shape: int, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, 1, 28, 28, generator=generator) < 0.1).double()


def episodes(shot: int = 2, query: int = 2) -> Episode:
    """Two tasks; the first hides an example."""
    weight = torch.ones(2, shot, dtype=torch.float64)
    weight[0, -1:] = 0
    return Episode(Batch(images(2, shot), weight), Batch(images(2, query, seed=4), torch.ones(2, query).double()))


def exact(setup: LatentDensity, meta: Params, about: Tensor, x: Tensor) -> Tensor:
    """Log-densities ``[n]`` with one latent variable, by the trapezoidal rule over eight deviations to each side."""
    mean, log_sd = setup.prior(meta, about)
    grid = torch.linspace(-8, 8, 801, dtype=torch.float64).unsqueeze(1)
    logits = setup.logits(meta, mean + log_sd.exp() * grid, about).flatten(1)
    likelihood = -F.binary_cross_entropy_with_logits(
        logits.unsqueeze(0).expand(len(x), -1, -1), x.flatten(1).unsqueeze(1).expand(-1, len(grid), -1),
        reduction="none",
    ).sum(-1)  # fmt: skip
    weight = -(grid.squeeze(1) ** 2) / 2 - math.log(2 * math.pi) / 2 + math.log(16 / 800)
    return (likelihood + weight).logsumexp(1)


@pytest.mark.parametrize("setup", SETUPS, ids=["vae", "conditional_vae"])
def test_the_bound_rises_with_the_samples_to_the_exact_log_density(setup: LatentDensity) -> None:
    built = learner()
    meta, x = drawn(setup, built), images(20)
    about = setup.about(meta, Batch(images(3, seed=9), torch.ones(3).double()))
    truth = exact(setup, meta, about, x).mean()
    bounds = [float(setup.elbo(meta, about, x).mean())]
    for samples in (4, 40, 800):
        more = replace(setup, samples=samples)
        bounds.append(float(more.predict(built, meta, {"about": about}, x).mean()))
    assert bounds[:3] == sorted(bounds[:3])
    assert bounds[0] < float(truth) - 0.5, "the encoder is so good that this tells nothing"
    assert bounds[-1] == pytest.approx(float(truth), abs=0.08)


def test_gradients_are_those_of_finite_differences_under_every_schedule() -> None:
    hold(SETUPS[1], learner(), episodes())


def test_samples_that_are_decoded_in_parts_are_the_same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    setup, built = VAE(**TINY, samples=2 * AT_ONCE + 2), learner()
    meta, x = drawn(setup, built), images(3)
    [state] = setup.adapt(built, meta, Batch(x[:0], torch.zeros(0)), 0)
    parts = setup.predict(built, meta, state, x)
    monkeypatch.setattr("maml_bench.setups._shared.bounds.AT_ONCE", 1000)
    torch.testing.assert_close(setup.predict(built, meta, state, x), parts, **EXACT)


def test_hidden_examples_are_as_none_and_the_vae_reads_none() -> None:
    built, x = learner(), images(2, seed=5)
    for setup in SETUPS:
        meta = drawn(setup, built)
        support = images(3)
        none = Batch(support[:0], torch.zeros(0).double())
        hidden = Batch(support, torch.zeros(3).double())
        shown = Batch(support, torch.ones(3).double())
        scores = [setup.predict(built, meta, setup.adapt(built, meta, s, 0)[0], x) for s in (none, hidden, shown)]
        torch.testing.assert_close(scores[0], scores[1], **EXACT)
        assert torch.allclose(scores[0], scores[2]) == isinstance(setup, VAE)


def test_an_episode_without_a_support_has_the_score_of_the_density_alone() -> None:
    setup, built = VAE(**TINY, samples=5), learner()
    meta, without = drawn(setup, built), episodes(shot=0)
    found = evaluate(setup, built, meta, without, (0,)).flatten()
    alone = [-setup.predict(built, meta, {"about": torch.zeros(0).double()}, x).mean() for x in without.query.x]
    torch.testing.assert_close(found, torch.stack(alone), **EXACT)


def test_images_that_are_drawn_follow_the_decoder() -> None:
    """Where the latent variable says nothing, each pixel is ink as often as its probability."""
    setup, built = ConditionalVAE(**TINY, summary=2), learner()
    meta = drawn(setup, built)
    meta["vae.thought.weight"] = torch.zeros_like(meta["vae.thought.weight"])
    about = setup.about(meta, Batch(images(2), torch.ones(2).double()))
    noise = torch.rand(4000, 2, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = setup.draw(built, meta, {"about": about}, noise)
    chance = setup.logits(meta, torch.zeros(1, 1).double(), about).sigmoid()
    assert set(found.unique().tolist()) == {0.0, 1.0}
    apart = (found.mean(0) - chance[0]) / (chance[0] * (1 - chance[0]) / len(found)).sqrt().clamp(min=1e-3)
    assert float(apart.abs().max()) < 5


def test_images_of_another_size_are_refused_in_a_sentence() -> None:
    setup, built = VAE(**TINY), learner()
    meta = setup.init(built, torch.Generator().manual_seed(0))
    with pytest.raises(MamlBenchError, match="reads images of 1x28x28, but one here is 3x28x28"):
        setup.features(meta, torch.zeros(2, 3, 28, 28).double())
