"""Statistics: numbers that can be had on paper, and properties that hold for any numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maml_bench.record import mean_ci95
from maml_bench.report.bootstrap import paired_bootstrap
from maml_bench.report.statistics import Timing, estimate, over_tasks, ratio_of_medians, seed_means

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


def test_three_seeds_have_a_t_interval_of_their_means():
    """Half-cheetah with seeds of 273, 18 and 185: the seeds differ far more than 40 test tasks tell."""
    tasks = np.linspace(-5, 5, 40)
    found = estimate(np.array([[273.0], [18.0], [185.0]]) + tasks)
    assert found.over == "seeds"
    assert found.mean == pytest.approx(158.667, abs=1e-3)
    assert found.ci95 == pytest.approx(4.302653 * 129.520 / 3**0.5, rel=1e-4)  # Student's t with 2 degrees of freedom


def test_fewer_seeds_have_an_interval_over_tasks():
    values = np.array([[0.0, 1.0], [0.5, 0.5]])
    assert estimate(values) == (*over_tasks(values), "tasks")
    assert estimate(np.array([[0.0, 1.0], [0.5, 0.5], [np.nan, np.nan]])).over == "tasks"  # two of them have a score


def test_the_mean_of_a_seed_leaves_out_what_is_not_finite():
    assert seed_means(np.array([[0.0, 2.0], [3.0, np.nan]])) == [1.0, 3.0]


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
