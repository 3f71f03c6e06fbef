"""Comparisons: a planted regression is found, a harmless change is not, and what cannot be compared says why."""

import math
from dataclasses import replace

import numpy as np
import pytest
from record_factory import MSE, evaluation, record, timing

from maml_bench.errors import MamlBenchError
from maml_bench.report.compare import compare

BASE = np.clip(np.random.default_rng(0).normal(0.9, 0.1, 600), 0, 1)


@pytest.fixture
def check(tmp_path):
    """Save the records of both sides and compare them; the finding on the metric or on time, if asked for."""

    def run(old, new, **options):
        for side, records in (("base", old), ("new", new)):
            for each in records:
                each.save(tmp_path / side)
        return compare(tmp_path / "base", tmp_path / "new", **options)

    return run


def one(comparison, quantity):
    (found,) = [finding for finding in comparison.findings if finding.quantity == quantity]
    return found


def mse(values, **fields):
    return record(evaluations=[evaluation({1: list(values)}, MSE, 1, 10)], metric=MSE, **fields)


def test_equal_records_are_the_same(check):
    comparison = check([record(BASE)], [record(BASE)])
    assert [finding.verdict for finding in comparison.findings] == ["same", "same"]
    assert not comparison.worse


def test_a_planted_loss_of_two_points_is_found(check):
    comparison = check([record(BASE)], [record(BASE - 0.02)])
    finding = one(comparison, "accuracy")
    assert comparison.worse
    assert (finding.verdict, finding.shape, finding.inner_steps, finding.seeds) == ("worse", "5-way 1-shot", 3, (0,))
    assert finding.difference == pytest.approx(-0.02)
    assert finding.low <= finding.difference <= finding.high < 0


def test_a_gain_is_better(check):
    assert one(check([record(BASE)], [record(BASE + 0.02)]), "accuracy").verdict == "better"


def test_a_significant_change_within_the_threshold_is_the_same(check):
    finding = one(check([record(BASE)], [record(BASE - 0.005)]), "accuracy")
    assert (finding.verdict, "within the threshold" in finding.reason) == ("same", True)


def test_a_large_change_that_chance_explains_is_the_same(check):
    old, new = [0.0, 1.0, 0.5, 0.5], [1.0, 0.0, 0.3, 0.3]
    finding = one(check([record(old)], [record(new)]), "accuracy")
    assert (finding.verdict, finding.difference) == ("same", pytest.approx(-0.1))


def test_another_metric_is_judged_relatively_and_by_its_direction(check):
    comparison = check([mse(BASE)], [mse(1.2 * BASE)])
    assert one(comparison, "mse").verdict == "worse"


def test_many_diverged_episodes_count_at_the_bound(check):
    lost = np.where(np.arange(600) % 10 == 0, math.nan, BASE)
    finding = one(check([mse(BASE)], [mse(lost)]), "mse")
    assert finding.verdict == "worse"
    assert finding.new == pytest.approx(100.8, abs=0.2)  # a tenth of the episodes at 1000, the rest near 0.9


def test_a_run_that_now_fails_is_worse(check):
    failed = record(evaluations=[], status="failed", reason="no memory")
    comparison = check([record(BASE)], [failed])
    assert comparison.worse
    assert one(comparison, "status").reason == "the run was ok in base and is failed in new (no memory)"


def test_two_failures_are_the_same(check):
    failed = record(evaluations=[], status="failed", reason="no memory")
    assert one(check([failed], [failed]), "status").verdict == "same"


@pytest.mark.parametrize(("step_s", "verdict"), [(0.13, "worse"), (0.08, "better"), (0.104, "same"), (0.1, "same")])
def test_seconds_per_step(check, step_s, verdict):
    finding = one(check([record(step_s=0.1)], [record(step_s=step_s)]), "outer_step_s")
    assert (finding.verdict, finding.difference) == (verdict, pytest.approx(step_s / 0.1 - 1))


def test_noisy_seconds_prove_nothing(check):
    noisy = [record(timing_s={"outer_step": timing(median, noise=0.4)}) for median in (0.1, 0.12)]
    assert one(check(noisy[:1], noisy[1:]), "outer_step_s").verdict == "same"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"machine_id": "m2"}, "machine was m1 in base and is m2 in new"),
        ({"threads": 1}, "threads was 2 in base and is 1 in new"),
        ({"device": "cuda"}, "device was cpu"),
        ({"schedule": "loop"}, "schedule was vmap"),
        ({"memory": "default"}, "memory was retained in base and is default in new"),
        ({"machine_gflops": 150.0}, "convolution rate went from 400 to 150 GFLOP/s"),
    ],
)
def test_seconds_of_other_conditions_are_refused_unless_asked_for(check, change, words):
    slow = record(BASE, step_s=0.3, **change)
    finding = one(check([record(BASE)], [slow]), "outer_step_s")
    assert finding.verdict == "incomparable"
    assert words in finding.reason
    assert one(check([record(BASE)], [slow], across_machines=True), "outer_step_s").verdict == "worse"


def test_the_same_machine_is_preferred(check):
    here, there = record(BASE), record(BASE, machine_id="m2", step_s=0.3)
    finding = one(check([here, there], [here, there]), "outer_step_s")
    assert (finding.verdict, finding.difference) == ("same", 0.0)


def test_an_untrained_setup_has_no_time(check):
    still = record(BASE, outer_steps=0, budget_steps=0)
    assert [finding.quantity for finding in check([still], [still]).findings] == ["accuracy"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outer_steps": 500}, "1,500 outer steps, new 500"),
        ({"task_version": 2}, "from version 1 to 2"),
        ({"data": {"name": "x"}}, "data"),
    ],
)
def test_scores_of_another_budget_or_task_are_not_compared(check, change, words):
    finding = one(check([record(BASE)], [record(BASE - 0.1, **change)]), "accuracy")
    assert finding.verdict == "incomparable"
    assert words in finding.reason


def test_another_count_of_episodes_is_not_compared(check):
    assert one(check([record(BASE)], [record(BASE[:300])]), "accuracy").reason == "base lacks this test"


def test_scores_without_a_number_are_not_compared(check):
    assert one(check([record([math.nan])], [record([0.5])]), "accuracy").verdict == "incomparable"


def test_a_changed_recipe_and_an_unshared_seed_say_so(check, tmp_path):
    assert one(check([record(BASE)], [record(BASE, recipe_id="ffffffff")]), "recipe").verdict == "incomparable"
    for path in (tmp_path / "new").rglob("*.json"):
        path.unlink()
    assert one(check([], [record(BASE, seed=7)]), "seed").verdict == "incomparable"


def test_nothing_in_common_is_an_error(check):
    with pytest.raises(MamlBenchError, match="nothing to compare"):
        check([record(setup="maml")], [record(setup="anil")])


def test_record_files_are_compared_too(tmp_path):
    base = record(BASE).save(tmp_path / "base")
    new = replace(record(BASE - 0.05)).save(tmp_path / "new")
    assert compare(base, new).worse


def test_missing_or_empty_sides_are_errors(tmp_path):
    with pytest.raises(MamlBenchError, match="no results folder"):
        compare(tmp_path / "no", tmp_path)
    with pytest.raises(MamlBenchError, match="no records"):
        compare(tmp_path, tmp_path)
