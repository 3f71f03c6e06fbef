"""Statistics: numbers that can be had on paper, and properties that hold for any numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maml_bench.record import mean_ci95
from maml_bench.report.bootstrap import paired_bootstrap
from maml_bench.report.statistics import Timing, meets, over_tasks, per_seed, ratio_of_medians, spread

scores = st.lists(st.floats(0, 1), min_size=2, max_size=30)


def test_over_tasks_averages_seeds_before_tasks():
    mean, ci95 = over_tasks(np.array([[0.0, 1.0], [0.5, 0.5]]))  # per task 0.25 and 0.75
    assert mean == 0.5
    assert math.isclose(ci95, 1.96 * 0.25 / 2**0.5)


def test_over_tasks_leaves_out_what_is_not_finite():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    assert over_tasks(values) == mean_ci95([2.0, 4.0])


@given(scores)
def test_one_seed_gives_the_interval_of_the_record(values):
    assert over_tasks(np.array([values])) == pytest.approx(mean_ci95(values))


@given(scores, st.integers(1, 4))
def test_a_repeated_seed_does_not_narrow_the_interval(values, seeds):
    assert over_tasks(np.array([values] * seeds)) == pytest.approx(over_tasks(np.array([values])))


def test_spread_and_per_seed():
    values = np.array([[0.0, 2.0], [3.0, 3.0], [5.0, 5.0]])
    assert [mean for mean, _ in per_seed(values)] == [1.0, 3.0, 5.0]
    assert spread(values) == 2.0
    assert spread(values[:1]) is None


@pytest.mark.parametrize(
    ("mean", "ci95", "published", "published_ci95", "higher", "word"),
    [
        (0.980, 0.004, 0.987, 0.004, True, "overlap"),
        (0.985, 0.004, 0.987, None, True, "within"),
        (0.970, 0.004, 0.987, 0.004, True, "below (worse)"),
        (0.999, 0.004, 0.987, 0.004, True, "above (better)"),
        (0.40, 0.01, 0.35, None, False, "above (worse)"),
        (0.30, 0.01, 0.35, None, False, "below (better)"),
        (math.nan, math.nan, 0.35, None, False, ""),
    ],
)
def test_meets(mean, ci95, published, published_ci95, higher, word):
    assert meets(mean, ci95, published, published_ci95, higher) == word


def test_bootstrap_is_the_same_for_the_same_seed():
    base, new = np.random.default_rng(0).random((2, 3, 200))
    assert paired_bootstrap(base, new, seed=4) == paired_bootstrap(base, new, seed=4)
    assert paired_bootstrap(base, new, seed=4) != paired_bootstrap(base, new, seed=5)


def test_bootstrap_interval_is_that_of_the_normal_approximation():
    new = np.random.default_rng(0).normal(0.1, 1, (1, 400))
    change = paired_bootstrap(np.zeros_like(new), new, seed=0)
    half = 1.96 * new.std() / 20
    assert change == pytest.approx((new.mean(), new.mean() - half, new.mean() + half), abs=0.01)


def test_pairing_cancels_hard_and_easy_tasks():
    base = np.random.default_rng(0).random((1, 100))
    assert paired_bootstrap(base, base + 0.01, seed=0) == pytest.approx((0.01, 0.01, 0.01))


@settings(deadline=None)
@given(scores, scores)
def test_swapping_the_sides_turns_the_interval_round(base, new):
    count = min(len(base), len(new))
    a, b = np.array([base[:count]]), np.array([new[:count]])
    there, back = paired_bootstrap(a, b, seed=0, resamples=200), paired_bootstrap(b, a, seed=0, resamples=200)
    assert there == pytest.approx((-back.value, -back.high, -back.low), abs=1e-12)
    assert there.low - 1e-12 <= there.value <= there.high + 1e-12 or count < 8


def test_bootstrap_without_any_pair_is_nan():
    assert all(map(math.isnan, paired_bootstrap(np.array([[np.nan]]), np.array([[1.0]]), seed=0)))


def test_one_pair_has_no_interval_around_it():
    assert paired_bootstrap(np.array([[0.5, np.nan]]), np.array([[0.75, 1.0]]), seed=0) == (0.25, 0.25, 0.25)


def test_bootstrap_refuses_unpaired_scores():
    with pytest.raises(ValueError, match="one shape"):
        paired_bootstrap(np.zeros((1, 3)), np.zeros((1, 4)), seed=0)


def test_ratio_of_medians_on_paper():
    base, new = Timing(1.0, 0.9, 1.1), Timing(1.5, 1.2, 1.8)
    assert ratio_of_medians([base], [new]) == pytest.approx((1.5, 1.2, 1.8))  # 1.2/1.0 < 1.5/1.1, 1.8/1.0 > 1.5/0.9
    assert ratio_of_medians([base], [new]).excludes(1.0)


def test_one_pair_that_does_not_move_keeps_one_in_the_interval():
    quick, slow = Timing(1.0, 0.95, 1.05), Timing(1.5, 1.4, 1.6)
    assert not ratio_of_medians([quick, quick], [slow, quick]).excludes(1.0)


def test_ratio_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        ratio_of_medians([], [])
