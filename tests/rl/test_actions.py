"""Distributions of actions against torch.distributions, and their metric against second derivatives."""

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, Normal, kl_divergence

from maml_bench.data.draws import words
from maml_bench.rl.actions import LEAST_LOG_STD, Categorical, Gaussian


def normal(outputs: Tensor) -> Independent:
    mean, log_std = outputs.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


CASES = [(Gaussian(), normal, 6), (Categorical(), lambda logits: TorchCategorical(logits=logits), 4)]


@pytest.mark.parametrize(("actions", "peer", "size"), CASES)
def test_probabilities_and_divergence_are_torchs(actions, peer, size, generator: Generator):
    old, new = (torch.randn(7, size, generator=generator, dtype=torch.float64) for _ in range(2))
    noise = actions.from_words(words(1, 0, 7, actions.draws(size // 2)))
    done = actions.draw(old, noise)
    torch.testing.assert_close(actions.log_prob(new, done), peer(new).log_prob(done))
    torch.testing.assert_close(actions.divergence(old, new), kl_divergence(peer(old), peer(new)))


@pytest.mark.parametrize(("actions", "peer", "size"), CASES)
def test_the_metric_is_the_second_derivative_of_the_divergence(actions, peer, size, generator: Generator):
    outputs, tangent = (torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(2))
    hessian = torch.func.jacrev(torch.func.jacrev(lambda new: actions.divergence(outputs, new)))(outputs)
    torch.testing.assert_close(actions.metric(outputs, tangent), hessian @ tangent)


def test_the_noise_has_the_distribution_that_outputs_name():
    noise = words(3, 0, 1, 200_000)
    mean, log_std = torch.tensor([0.5]), torch.tensor([-1.0])
    values = Gaussian().draw(
        torch.cat([mean, log_std]).expand(200_000, 2), Gaussian().from_words(noise[0]).unsqueeze(1)
    )
    assert float(values.mean()) == pytest.approx(0.5, abs=3 * 0.37 / 200_000**0.5)
    assert float(values.std()) == pytest.approx(float(log_std.exp()), rel=0.01)
    logits = torch.tensor([0.0, 1.0, -1.0])
    picks = Categorical().draw(logits.expand(200_000, 3), Categorical().from_words(noise[0]).unsqueeze(1))
    torch.testing.assert_close(picks.bincount() / 200_000, logits.softmax(0), atol=0.005, rtol=0)


def test_extreme_words_are_finite_noise_and_a_collapsed_policy_stays_finite():
    assert Gaussian().from_words(torch.tensor([0, 2**32 - 1])).isfinite().all()
    outputs = torch.tensor([1.0, -100.0])
    assert float(Gaussian().log_prob(outputs, torch.tensor([1.0]))) == pytest.approx(
        -LEAST_LOG_STD - 0.9189385, rel=1e-6
    )
