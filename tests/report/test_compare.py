"""Comparisons: a planted regression is found, a harmless change is not, and what cannot be compared says why."""

import math
from dataclasses import replace

import numpy as np
import pytest
from record_factory import MSE, evaluation, record, timing

from maml_bench.api.reading import compare
from maml_bench.errors import MamlBenchError

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


def three(*values, **fields):
    """Three seeds, whose step times differ a little."""
    return [record(*values, seed=seed, **{"step_s": 0.1, **fields}) for seed in range(3)]


def mse(values, **fields):
    return record(evaluations=[evaluation({1: list(values)}, MSE, 1, 10)], metric=MSE, **fields)


def test_equal_records_are_the_same(check):
    comparison = check([record(BASE)], [record(BASE)])
    assert [finding.verdict for finding in comparison.findings] == ["same", "cannot tell"]
    assert (comparison.worse, comparison.compared, comparison.complete) == (False, True, False)
    seeds = [record(BASE, seed=seed) for seed in range(3)]
    assert check(seeds, seeds).complete


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


def test_a_large_change_that_chance_explains_cannot_be_told(check):
    old, new = [0.0, 1.0, 0.5, 0.5], [1.0, 0.0, 0.3, 0.3]
    comparison = check([record(old)], [record(new)])
    finding = one(comparison, "accuracy")
    assert (finding.verdict, finding.difference) == ("cannot tell", pytest.approx(-0.1))
    assert finding.smallest == pytest.approx((finding.high - finding.low) / 2)
    assert f"a difference below {finding.smallest:.2g} could not be shown" in finding.reason
    assert (comparison.worse, comparison.complete) == (False, False)


def test_one_test_task_shows_nothing(check):
    finding = one(check([record([0.9])], [record([0.1])]), "accuracy")
    assert (finding.verdict, finding.low, finding.smallest) == ("cannot tell", None, None)


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


def test_two_failures_are_listed_and_compare_nothing(check):
    failed = record(evaluations=[], status="failed", reason="no memory")
    comparison = check([failed], [failed])
    assert one(comparison, "status").verdict == "incomparable"
    assert not comparison.compared


def test_a_failure_of_one_seed_is_listed_beside_the_others(check):
    failed = record(evaluations=[], status="diverged", seed=1)
    comparison = check([record(BASE), failed], [record(BASE), failed])
    assert (one(comparison, "status").seeds, one(comparison, "accuracy").seeds) == ((1,), (0,))
    assert not comparison.complete


@pytest.mark.parametrize(
    ("step_s", "verdict"), [(0.115, "worse"), (0.14, "worse"), (0.085, "better"), (0.103, "same"), (0.1, "same")]
)
def test_seconds_per_step(check, step_s, verdict):
    finding = one(check(three(step_s=0.1), three(step_s=step_s)), "outer_step_s")
    assert (finding.verdict, finding.difference) == (verdict, pytest.approx(step_s / 0.1 - 1, abs=1e-3))
    assert finding.smallest == pytest.approx(max(0.08, finding.high - finding.difference), abs=0.02)


def test_one_pair_of_runs_cannot_be_told(check):
    finding = one(check([record()], [record(step_s=0.3)]), "outer_step_s")
    assert (finding.verdict, "3 pairs of runs" in finding.reason) == ("cannot tell", True)


def test_runs_that_were_not_made_in_turns_cannot_be_told(check):
    later = [replace(each, started_at=f"2026-02-0{each.seed + 1}") for each in three(step_s=0.3)]
    finding = one(check(three(), later), "outer_step_s")
    assert (finding.verdict, "not made in turns" in finding.reason) == ("cannot tell", True)


@pytest.mark.parametrize(("times", "verdict"), [((0.115, 0.116, 0.114), "worse"), ((0.1, 0.19, 0.12), "cannot tell")])
def test_three_pairs_of_runs_say_how_much_runs_differ(check, times, verdict):
    busy = {"outer_step": timing(0.1) | {"total": 0.3 * 1500}}
    old = [record(seed=seed, step_s=0.1, timing_s=busy) for seed in range(3)]
    new = [record(seed=seed, step_s=step_s, timing_s=busy) for seed, step_s in enumerate(times)]
    finding = one(check(old, new), "outer_step_s")
    assert finding.verdict == verdict
    assert finding.low < finding.difference < finding.high


def in_turns(seed, step_s, late=0.0, **fields):
    """A run whose machine is half as fast for two seconds of every five; ``late`` is its start in seconds."""
    at = 1e9 + 100.0 * seed + late + np.arange(40) * 0.2
    slow = np.where((at - 0.7 * seed) % 5 < 2, 2.0, 1.0)
    return record(seed=seed, step_blocks_s=list(step_s * slow), step_blocks_at_s=list(at), **fields)


def test_runs_in_turns_are_compared_moment_by_moment(check):
    sides = [[in_turns(seed, step_s, late) for seed in range(3)] for step_s, late in ((0.1, 0.0), (0.115, 1.3))]
    finding = one(check(*sides), "outer_step_s")
    assert (finding.verdict, finding.difference) == ("worse", pytest.approx(0.15, abs=1e-6))


@pytest.mark.parametrize("late", [7.0, 1000.0])
def test_runs_that_hardly_overlap_are_compared_as_wholes(check, late):
    sides = [[in_turns(seed, step_s, start) for seed in range(3)] for step_s, start in ((0.1, 0.0), (0.115, late))]
    finding = one(check(*sides), "outer_step_s")
    assert finding.difference == pytest.approx(0.15, abs=0.01), "the fastest blocks of both"


@pytest.mark.parametrize("side", [0, 1])
def test_a_short_run_cannot_be_told_and_is_never_worse(check, side):
    short = record(step_s=0.25, step_blocks_s=[], timing_s={"outer_step": timing(0.25, count=15)})
    pair = [record(), record()]
    pair[side] = short
    finding = one(check(pair[:1], pair[1:]), "outer_step_s")
    assert (finding.verdict, "15 timed steps, which are too few" in finding.reason) == ("cannot tell", True)


def test_records_without_blocks_say_so(check):
    finding = one(check([record(step_blocks_s=[])], [record()]), "outer_step_s")
    assert (finding.verdict, "an older version made them" in finding.reason) == ("cannot tell", True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"machine_id": "m2"}, "machine was m1 in base and is m2 in new"),
        ({"threads": 1}, "threads was 2 in base and is 1 in new"),
        ({"processes": 2}, "processes was 1 in base and is 2 in new"),
        ({"device": "cuda"}, "device was cpu"),
        ({"schedule": "loop"}, "schedule was vmap"),
        ({"memory": "default"}, "memory was retained in base and is default in new"),
    ],
)
def test_seconds_of_other_conditions_are_refused_unless_asked_for(check, change, words):
    slow = three(BASE, step_s=0.3, **change)
    finding = one(check(three(BASE), slow), "outer_step_s")
    assert finding.verdict == "incomparable"
    assert words in finding.reason
    assert one(check(three(BASE), slow, across_machines=True), "outer_step_s").verdict == "worse"


@pytest.mark.parametrize(("loss", "seeds", "verdict"), [(0.02, 2, "same"), (0.04, 2, "worse"), (0.02, 3, "worse")])
def test_scores_of_another_machine_must_differ_by_more_if_seeds_are_few(check, loss, seeds, verdict):
    """Another machine rounds otherwise, which changes a training as another seed does."""
    old = [record(BASE, seed=seed) for seed in range(seeds)]
    new = [record(BASE - loss, seed=seed, machine_id="m2") for seed in range(seeds)]
    finding = one(check(old, new), "accuracy")
    assert finding.verdict == verdict
    assert ("fewer than 3 seeds" in finding.reason) == (seeds < 3)


def test_the_same_machine_is_preferred(check):
    both = [*three(BASE), *three(BASE, machine_id="m2", step_s=0.3)]
    finding = one(check(both, both), "outer_step_s")
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


def test_a_pair_that_cannot_be_compared_is_listed_beside_those_that_can(check):
    other = record(BASE, seed=1, task_version=2)
    found = check([record(BASE), record(BASE, seed=1)], [record(BASE), other]).findings
    assert [(f.verdict, f.seeds) for f in found if f.quantity == "accuracy"] == [("incomparable", (1,)), ("same", (0,))]


def test_a_test_of_one_side_is_listed(check):
    findings = [f for f in check([record(BASE)], [record(BASE[:300])]).findings if f.quantity == "accuracy"]
    assert [(f.reason, f.only) for f in findings] == [
        ("only base has this test", "base"),
        ("only new has this test", "new"),
    ]


def test_scores_without_a_number_are_not_compared(check):
    assert one(check([record([math.nan])], [record([0.5])]), "accuracy").verdict == "incomparable"


def test_another_content_of_the_recipe_is_compared_and_said(check):
    comparison = check(three(BASE), three(BASE, recipe_id="ffffffff"))
    for quantity in ("accuracy", "outer_step_s"):
        finding = one(comparison, quantity)
        assert (finding.verdict, "the content of the recipe differs" in finding.reason) == ("same", True)


def test_recipes_of_equal_content_and_another_name_are_not_paired(check):
    """The quickstart and sinusoid-k10 have presets of equal content, and so one recipe_id."""
    old = [record(BASE, recipe="one", step_s=0.1), record(BASE - 0.5, recipe="two", started_at="2027")]
    findings = check(old, [record(BASE, recipe="one")]).findings
    assert [(f.recipe, f.verdict, f.only) for f in findings if f.quantity != "outer_step_s"] == [
        ("one", "same", None), ("two", "incomparable", "base"),
    ]  # fmt: skip


def test_seeds_and_recipes_of_one_side_are_listed(check):
    old = [record(BASE), record(BASE, seed=1), record(BASE, setup="anil")]
    comparison = check(old, [record(BASE), record(BASE, seed=2), record(BASE, setup="boil", preset="paper")])
    listed = {(f.setup, f.quantity, f.only, f.seeds) for f in comparison.findings if f.only}
    assert listed == {
        ("maml", "seed", "base", (1,)), ("maml", "seed", "new", (2,)),
        ("anil", "recipe", "base", (0,)), ("boil", "recipe", "new", (0,)),
    }  # fmt: skip
    assert not comparison.complete


def test_no_seed_in_common_compares_nothing(check):
    comparison = check([record(BASE)], [record(BASE, seed=7)])
    assert {f.quantity for f in comparison.findings} == {"seed"}
    assert not comparison.compared


def test_evaluations_of_weights_are_compared_with_evaluations(check):
    def weights(values, content):
        files = [{"file": "w.safetensors", "sha256": content * 64, "header": {}}]
        return record(values, kind="evaluation", weights=files, outer_steps=0, budget_steps=0)

    comparison = check([record(BASE), weights(BASE, "a")], [record(BASE), weights(BASE - 0.02, "b")])
    found = {(f.kind, f.quantity): f.verdict for f in comparison.findings}
    assert found == {
        ("run", "accuracy"): "same", ("run", "outer_step_s"): "cannot tell", ("evaluation", "accuracy"): "worse",
    }  # fmt: skip


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


def test_a_superseded_record_of_a_folder_is_not_compared(check, tmp_path):
    old = [record(BASE, started_at="2026-01-01T00:00:00+00:00")]
    better = replace(record(BASE + 0.05, seed=1), superseded="another way to count")
    comparison = check(old, [record(BASE), better])
    assert one(comparison, "accuracy").verdict == "same"
    assert not [finding for finding in comparison.findings if finding.only]
