"""Returns, baseline and advantages, against numbers that can be had on paper and plain loops."""

import numpy as np
import pytest
import torch

from maml_bench.rl.trajectories import (
    advantages,
    discounted,
    linear_baseline,
    packed,
    spread,
    standardised,
)


def clock(mask):
    """Steps since the start, of rollouts of one episode each."""
    return torch.arange(mask.shape[-1], dtype=mask.dtype) * (mask != 0)


def test_discounted_returns_on_paper():
    rewards = torch.tensor([1.0, 0.0, 2.0])
    assert discounted(rewards, 0.5, torch.arange(3)).tolist() == [1.5, 1.0, 2.0]
    assert discounted(rewards, 0.5, torch.tensor([0, 1, 0])).tolist() == [1.0, 0.0, 2.0]  # another episode begins


def test_advantages_are_returns_less_values_with_lambda_1_and_surprises_with_0(generator):
    rewards, values = torch.randn(2, 1, 3, 5, generator=generator, dtype=torch.float64)
    mask = torch.ones_like(rewards)
    to_come = discounted(rewards, 0.9, clock(rewards)) - values
    torch.testing.assert_close(advantages(rewards, values, mask, clock(mask), 0.9, 1.0), standardised(to_come, mask))
    after = torch.cat([values[..., 1:], torch.zeros(1, 3, 1, dtype=torch.float64)], -1)
    torch.testing.assert_close(
        advantages(rewards, values, mask, clock(mask), 0.9, 0.0), standardised(rewards + 0.9 * after - values, mask)
    )


def test_what_comes_after_the_end_counts_for_nothing(generator):
    rewards, values = torch.randn(2, 1, 2, 6, generator=generator, dtype=torch.float64)
    mask = torch.ones_like(rewards)
    mask[0, 1, 3:] = 0
    short = advantages(rewards * mask, values * mask, mask, clock(mask), 0.9, 0.8)
    values[0, 1, 3:] += 100
    torch.testing.assert_close(advantages(rewards * mask, values, mask, clock(mask), 0.9, 0.8), short)
    assert (short[0, 1, 3:] == 0).all()
    counted = short[mask.bool()]
    assert float(counted.mean()) == pytest.approx(0, abs=1e-12)
    assert float(counted.std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_the_baseline_is_the_ridge_regression_of_the_released_code(generator):
    """Its features and its normal equations (linear_feature_baseline.py of cbfinn/maml_rl), in numpy, task by task."""
    x = 20 * torch.randn(2, 3, 7, 4, generator=generator)
    returns = torch.randn(2, 3, 7, generator=generator)
    fitted = linear_baseline(x, returns, torch.ones_like(returns), clock(returns))
    for task in range(2):
        rows = []
        for rollout in x[task].double().numpy():
            t = np.arange(len(rollout)).reshape(-1, 1) / 100.0
            cut = np.clip(rollout, -10, 10)
            rows.append(np.concatenate([cut, cut**2, t, t**2, t**3, np.ones((len(rollout), 1))], 1))
        features, target = np.concatenate(rows), returns[task].double().numpy().ravel()
        weights = np.linalg.lstsq(features.T @ features + 1e-5 * np.eye(12), features.T @ target, rcond=None)[0]
        assert fitted[task].ravel().numpy() == pytest.approx(features @ weights, rel=1e-4, abs=1e-5)


def test_the_baseline_survives_observations_that_never_change():
    ones = torch.ones(1, 2, 5)
    assert linear_baseline(torch.zeros(1, 2, 5, 3), ones, ones, clock(ones)).isfinite().all()


def test_spread_is_the_population_deviation():
    assert float(spread(torch.tensor([[1.0, 3.0]]), torch.ones(1, 2))) == pytest.approx(1.0, abs=1e-6)


def test_packing_keeps_every_step_that_counts_in_order():
    mask = torch.tensor([[[1.0, 1, 0], [1, 1, 1]], [[1, 0, 0], [1, 0, 0]]])
    steps = torch.arange(12.0).reshape(2, 2, 3)
    wide = steps.unsqueeze(-1)
    time = torch.tensor([0.0, 1, 2]) * mask
    (rewards, observations), mask, time = packed([steps, wide], mask, time)
    assert mask.tolist() == [[[1, 1, 1, 1, 1]], [[1, 1, 0, 0, 0]]]
    assert rewards[0].tolist() == [[0, 1, 3, 4, 5]]
    assert rewards[1, 0, :2].tolist() == [6, 9]
    assert torch.equal(observations[..., 0], rewards)
    assert time.tolist() == [[[0, 1, 0, 1, 2]], [[0, 0, 0, 0, 0]]]
