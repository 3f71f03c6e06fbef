"""Statistics: numbers that can be had on paper, and properties that hold for any numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maml_bench.record import mean_ci95
from maml_bench.report.statistics import estimate, over_tasks, paired, seed_means

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


def test_paired_interval_over_tasks_on_paper():
    change = paired(np.array([[0.0, 0.0, 0.0, 0.0]]), np.array([[1.0, 2.0, 3.0, 4.0]]))
    half = 3.1824463 * math.sqrt(5 / 3) / 2  # Student's t at 3 degrees of freedom
    assert change == pytest.approx((2.5, 2.5 - half, 2.5 + half))


def test_paired_interval_is_over_seeds_from_three_on():
    base = np.random.default_rng(0).normal(size=(3, 50))
    shifts = np.array([[1.0], [2.0], [3.0]])
    half = 4.3026527 / math.sqrt(3)
    assert paired(base, base + shifts) == pytest.approx((2.0, 2 - half, 2 + half))
    assert paired(base[:2], base[:2] + shifts[:2]) == pytest.approx((1.5, 1.5, 1.5))


def test_paired_leaves_out_what_has_no_partner():
    assert paired(np.array([[0.5, np.nan, 0.5]]), np.array([[0.75, 1.0, 0.75]])) == (0.25, 0.25, 0.25)
    assert paired(np.array([[0.5]]), np.array([[0.75]])) == (0.25, -math.inf, math.inf)
    assert all(map(math.isnan, paired(np.array([[np.nan]]), np.array([[1.0]]))))


def test_unpaired_scores_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        paired(np.zeros((1, 3)), np.zeros((1, 4)))
