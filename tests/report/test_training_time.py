"""Seconds of training as tables show them, in numbers that can be had on paper."""

from dataclasses import replace
from pathlib import Path

import pytest
from record_factory import record, timing

from maml_bench.record import Record
from maml_bench.report.flat_rows import flat_rows
from maml_bench.report.page import page_data
from maml_bench.report.tables import numbers
from maml_bench.report.training_time import contended, steps_per_s, training_time

BLOCKS = [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0]
"""Their 10th percentile is the second smallest, 1.1."""


def shared(**fields: object) -> Record:
    """100 steps that took 3 s each on average, and 1 s at best; 95 draws of 0.5 s at best, after 5 of warm-up."""
    steps = {"total": 285.0, "count": 95, "median": 2.5, "p05": 1.0, "p95": 6.0}
    draws = {"total": 190.0, "count": 95, "median": 1.5, "p05": 0.5, "p95": 6.0}
    warm_up = {"total": 25.0, "count": 5, "median": 5.0, "p05": 4.0, "p95": 6.0}
    times = {"outer_step": steps, "outer_step_warm_up": warm_up, "sample": draws, "sample_warm_up": warm_up}
    plain = {"outer_steps": 100, "budget_steps": 100, "timing_s": times, "step_blocks_s": BLOCKS, "train_s": 525.0}
    return record(**{**plain, **fields})


def test_steps_that_took_far_longer_than_their_fastest_share_the_machine():
    quiet, shared = timing(0.1), timing(0.1) | {"total": 1500 * 0.2}
    assert contended(record(timing_s={"outer_step": quiet})) is False
    assert contended(record(timing_s={"outer_step": shared})) is True
    assert contended(record(timing_s={})) is None


def test_a_run_that_had_its_machine_for_itself_has_the_seconds_of_the_clock() -> None:
    quiet = record(step_s=0.1)
    assert training_time(quiet) == (150.0, "measured")
    assert steps_per_s(quiet) == 10.0


def test_a_shared_machine_counts_its_undisturbed_steps_and_draws() -> None:
    seconds, kind = training_time(shared())
    assert (seconds, kind) == (pytest.approx(100 * 1.1 + 100 * 0.5), "undisturbed steps")
    assert steps_per_s(shared()) == pytest.approx(100 / 160)


def test_without_step_times_of_blocks_the_clock_is_an_upper_bound() -> None:
    assert training_time(shared(step_blocks_s=[])) == (525.0, "upper bound")


@pytest.mark.parametrize(("left_out", "draws_s"), [("sample_warm_up", 95 * 0.5), ("sample", 25.0)])
def test_draws_of_which_only_some_were_timed_apart(left_out: str, draws_s: float) -> None:
    whole = shared()
    times = {name: value for name, value in whole.timing_s.items() if name != left_out}
    assert training_time(replace(whole, timing_s=times)).seconds == pytest.approx(110 + draws_s)


def test_a_setup_that_does_not_train_takes_no_time() -> None:
    none = record(outer_steps=0, budget_steps=0, train_s=0.0, timing_s={}, step_blocks_s=[])
    assert training_time(none) == (0.0, "measured")
    assert steps_per_s(none) is None


def test_rows_and_csv_say_what_the_seconds_are() -> None:
    kinds = [record(step_s=0.1), shared(seed=1), shared(seed=2, step_blocks_s=[])]
    rows = flat_rows([(Path("a.json"), one) for one in kinds])
    assert [(row["train_s"], row["train_s_is"], row["contended"]) for row in rows] == [
        (150.0, "measured", False),
        (pytest.approx(160.0), "undisturbed steps", True),
        (525.0, "upper bound", True),
    ]
    assert [row["steps_per_s"] for row in rows] == pytest.approx([10.0, 100 / 160, 100 / 525])
    frame = numbers(kinds)
    assert list(frame["train_s_is"]) == ["measured", "undisturbed steps, upper bound"]
    assert list(frame["train_s"]) == pytest.approx([150, (160 + 525) / 2])
    assert list(frame["steps_per_s"]) == pytest.approx([10, (100 / 160 + 100 / 525) / 2])


def test_the_page_keeps_the_seconds_of_the_clock_beside_them(tmp_path: Path) -> None:
    data = page_data([(tmp_path / "a.json", shared())], tmp_path)
    origin = data["records"][0]["origin"]
    assert (origin["training, s"], origin["training time is"]) == (160.0, "undisturbed steps, 525.0 s by the clock")
    assert (data["rows"][0]["train_s"], data["rows"][0]["train_s_is"]) == (pytest.approx(160.0), "undisturbed steps")
