"""Expected bands: numbers on paper, which records count, and that the shipped file is that of the reference results."""

from dataclasses import replace
from pathlib import Path

import pytest
from record_factory import MSE, record

from maml_bench.record import Curve, load_all
from maml_bench.report.bands import Band, Expected, bands, shipped, tenths, text, write

ROOT = Path(__file__).parents[2]


def run(steps, means, ci95=0.01, *, seed=0, budget=100, **fields):
    """A run whose validation mean was ``means`` at ``steps``."""
    curve = Curve(
        list(steps), [0.1 * step for step in steps], [None] * len(means), list(means), [ci95] * len(means), 3, 100
    )
    return record(seed=seed, curve=curve, outer_steps=steps[-1], budget_steps=budget, **fields)


def only(records):
    (found,) = bands(records).values()
    return found


def test_the_first_validation_at_or_after_each_tenth():
    assert tenths(100, range(0, 101, 10)) == list(range(10, 101, 10))
    assert tenths(1500, range(0, 1501, 100)) == [200, 300, 500, 600, 800, 900, 1100, 1200, 1400, 1500]
    assert tenths(60_000, range(0, 10_001, 500)) == [6000]
    assert tenths(12, [0, 4, 8, 12]) == [4, 8, 12]
    assert tenths(100, [0, 9]) == []


def test_one_seed_gives_its_mean_and_twice_its_interval_on_both_sides():
    found = only([run([0, 10, 20], [0.2, 0.5, 0.6], 0.02)])
    assert found.bands == (Band(10, 0.5, 0.46, 0.54, 1), Band(20, 0.6, 0.56, 0.64, 1))
    assert (found.recipe, found.preset, found.setup) == ("omniglot-5w1s", "quick", "maml")
    assert found.commits == ("abc",)


def test_seeds_widen_the_band_and_a_shorter_run_tells_of_what_it_reached():
    found = only([run([0, 10, 20], [0.2, 0.5, 0.6]), run([0, 10], [0.2, 0.7], 0.05, seed=1)])
    assert found.bands == (Band(10, 0.6, 0.48, 0.8, 2), Band(20, 0.6, 0.58, 0.62, 1))


def test_a_seed_on_two_machines_is_one_seed():
    found = only([run([0, 10], [0.2, 0.5]), run([0, 10], [0.2, 0.52], machine_id="m2", commit="d" * 40)])
    assert found.bands == (Band(10, 0.51, 0.48, 0.54, 1),)
    assert found.commits == ("abc", "d" * 10)


def test_a_band_of_accuracy_stays_within_0_and_1():
    assert only([run([10], [0.99])]).bands == (Band(10, 0.99, 0.97, 1.0, 1),)
    assert only([run([10], [0.99], metric=MSE)]).bands == (Band(10, 0.99, 0.97, 1.01, 1),)


def test_what_gives_no_bands():
    changed = run([10], [0.5])
    changed.recipe["changed"] = ["inner.rate=1"]
    none = run([10], [None])
    untrained = record(outer_steps=0, budget_steps=0)
    assert bands([changed, none, untrained, run([10], [0.5], status="diverged"), run([9], [0.5])]) == {}


def test_only_the_newest_task_version_counts():
    assert only([run([10], [0.5]), run([10], [0.9], task_version=2, seed=1)]).bands[0].mean == 0.9


@pytest.mark.parametrize(
    ("higher", "mean", "worse"),
    [
        (True, 0.39, True), (True, 0.4, False), (True, 0.9, False), (True, float("nan"), True),
        (False, 0.61, True), (False, 0.6, False), (False, 0.1, False), (False, float("nan"), True),
    ],
)  # fmt: skip
def test_which_side_of_a_band_is_the_bad_one(higher, mean, worse):
    band = Band(10, 0.5, 0.4, 0.6, 1)
    assert Expected("r", "quick", "s", higher, (), (band,)).worse(band, mean) is worse


def test_what_is_written_is_read_again(tmp_path, monkeypatch):
    records = [run([0, 10, 20], [0.2, 0.5, 0.6]), run([0, 10], [4.0, 3.0], metric=MSE, recipe="sinusoid-k10")]
    path = write(records, tmp_path / "bands.json")
    monkeypatch.setattr("maml_bench.report.bands._shipped", lambda: path)
    assert shipped() == bands(records)
    assert [len(expected.bands) for expected in shipped().values()] == [2, 1]
    path.unlink()
    assert shipped() == {}


def test_the_shipped_bands_are_those_of_the_reference_results():
    """Never edited by hand: `maml-bench report --results results --bands` makes them."""
    made = text(bands(record for _, record in load_all(ROOT / "results")))
    assert (ROOT / "maml_bench" / "recipes" / "bands.json").read_text(encoding="utf-8") == made


def test_the_order_of_records_does_not_matter():
    records = [replace(run([10], [0.5 + seed / 100]), seed=seed) for seed in range(3)]
    assert text(bands(records)) == text(bands(reversed(records)))
