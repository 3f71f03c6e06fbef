"""Tables and figures of a suite: what stands in which cell, what a second buys, and nothing pooled that is unlike."""

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from record_factory import ACCURACY, PAPER, evaluation, record, timing

from maml_bench.record import Curve
from maml_bench.report.aggregate import aggregate
from maml_bench.report.curves import MeanCurve, mean_curve
from maml_bench.report.figures import View, discover, write_suite_figures
from maml_bench.report.style import STYLE, looks
from maml_bench.report.suites import accuracy_per_second
from maml_bench.report.suites.cells import cell_of, of_suite, places
from maml_bench.report.suites.tables import failures, flat, scores, seconds, sources
from maml_bench.report.suites.writing import write_suite_tables
from maml_bench.suites import Cell, Suite, suite

CELLS = (Cell("omniglot-5w1s", "O 5w1s"), Cell("omniglot-20w1s", "O 20w1s"))
SUITE = Suite("Two problems", CELLS, ())


def run(setup="maml", recipe="omniglot-5w1s", ends=(0.2, 0.6, 0.8), step_s=0.1, steps=1500, **fields):
    """A run of ``steps`` of 1,500 steps, validated at equal distances, its intervals ± 0.02."""
    at = [round(i * steps / (len(ends) - 1)) for i in range(len(ends))] if len(ends) > 1 else [0]
    curve = Curve(at, [i * step_s for i in at], [None] * len(at), list(ends), [0.02] * len(at), 3, 100)
    whole = 0 if len(ends) == 1 else 1500
    fields = {"outer_steps": min(steps, whole), "budget_steps": whole, **fields}
    return record(setup=setup, recipe=recipe, curve=curve, step_s=step_s, **fields)


def only(frame, **where):
    """The one line of a table where the columns have these values."""
    (line,) = [row for row in frame.to_dict("records") if all(row[key] == value for key, value in where.items())]
    return line


def test_a_recipe_belongs_to_the_cell_whose_id_it_has_or_carries_on():
    assert cell_of(SUITE, "omniglot-5w1s") == (CELLS[0], "")
    assert cell_of(SUITE, "omniglot-5w1s-mlp-text") == (CELLS[0], "mlp-text")
    assert cell_of(SUITE, "omniglot-5w1s2") is None
    assert cell_of(SUITE, "sinusoid-k10") is None


def test_runs_of_other_recipes_and_changed_runs_do_not_count():
    changed = run()
    changed.recipe["changed"] = ["inner.rate=1"]
    mine = run()
    assert of_suite(SUITE, [changed, run(recipe="other"), mine]) == [mine]


def test_a_row_holds_one_setup_on_all_problems_beside_the_published_values():
    records = [
        run(published=[PAPER]),
        run(recipe="omniglot-20w1s", steps=300, values=[0.5, 0.5]),
        run("anil", values=[0.9, 0.9]),
    ]
    frame = scores(SUITE, records)
    assert list(frame.columns) == ["setup", "preset", "protocol", "normalisation", "O 5w1s", "O 20w1s"]
    maml = only(frame, setup="maml")
    assert (maml["preset"], maml["protocol"], maml["normalisation"]) == ("quick", "paper", "transductive")
    assert maml["O 5w1s"] == "98.0 ± 1.4 (98.7 ± 0.4)"
    assert maml["O 20w1s"] == "50.0 ± 0.0, 20 %"
    assert only(frame, setup="anil")["O 20w1s"] == ""
    assert only(scores(SUITE, records, published=False), setup="maml")["O 5w1s"] == "98.0 ± 1.4"
    assert sources(SUITE, records) == ["Finn et al."]


def test_unlike_runs_have_rows_of_their_own():
    test = evaluation({3: [0.5]}, ACCURACY)
    modern = replace(test, protocol="modern", normalisation="support", checkpoint="selected", checkpoint_steps=[500])
    records = [
        run(evaluations=[test, modern]),
        run(ranked=False, preset="smoke"),
        run(preset="paper"),
        run(recipe="omniglot-5w1s-text"),
        run(machine_id="m2"),
    ]
    rows = [
        tuple(row)
        for row in scores(SUITE, records)[["setup", "preset", "protocol", "normalisation", "machine"]].to_numpy()
    ]
    assert rows == [
        ("maml", "paper", "paper", "transductive", "m1 cpu"),
        ("maml", "quick", "paper", "transductive", "m1 cpu"),
        ("maml", "quick", "paper", "transductive", "m2 cpu"),
        ("maml", "quick", "modern, selected", "support", "m1 cpu"),
        ("maml (text)", "quick", "paper", "transductive", "m1 cpu"),
        ("maml", "smoke, unranked", "paper", "transductive", "m1 cpu"),
    ]


def test_of_groups_for_one_cell_the_one_that_tells_the_most_is_shown_and_all_are_kept():
    records = [
        run(values=[0.9, 0.9]),
        run(values=[0.1, 0.1], steps=300, schedule="traced"),
        run(values=[0.7, 0.7], seed=1),
        run(values=[0.3, 0.3], schedule="loop", status="diverged"),
    ]
    assert scores(SUITE, records)["O 5w1s"].tolist() == ["80.0 ± 0.0"]
    frame = flat(SUITE, records)
    assert sorted(frame["mean"]) == pytest.approx([0.1, 0.3, 0.8])
    assert sorted(frame["budget_share"]) == [0.2, 1.0, 1.0]
    assert set(frame["cell"]) == {"O 5w1s"}
    assert failures(SUITE, records) == ["O 5w1s, maml, quick: diverged: no reason given"]


def test_seconds_are_medians_and_ways_of_running_are_kept_apart():
    records = [run(step_s=0.1), run(step_s=0.2, seed=1), run(recipe="omniglot-20w1s", threads=1, steps=750)]
    frame = seconds(SUITE, records)
    assert only(frame, threads="2")["O 5w1s"] == "225"
    assert only(frame, threads="2")["O 20w1s"] == ""
    assert only(frame, threads="1")["O 20w1s"] == "75, 50 %"


CURVE = MeanCurve(
    *(
        np.array(values)
        for values in ([0, 1, 2, 3], [0.0, 10.0, 20.0, 30.0], [0.2, 0.5, 0.45, 0.7], [0.1] * 4, [math.nan] * 4)
    )
)


@pytest.mark.parametrize(("at", "accuracy"), [(0.0, 0.2), (9.9, 0.2), (10.0, 0.5), (29.0, 0.45), (99.0, 0.7)])
def test_the_accuracy_by_a_time_is_that_of_the_last_validation_by_then(at, accuracy):
    assert accuracy_per_second.by_then(CURVE, at) == (accuracy, 0.1)


def test_before_the_first_validation_nothing_is_known():
    assert math.isnan(accuracy_per_second.by_then(CURVE, -1.0)[0])
    unknown = CURVE._replace(mean=np.array([math.nan, 0.5, math.nan, 0.7]))
    assert accuracy_per_second.by_then(unknown, 25.0)[0] == 0.5
    assert accuracy_per_second.reached_s(unknown, 0.1) == 10.0


@pytest.mark.parametrize(("level", "at"), [(0.2, 0.0), (0.5, 10.0), (0.6, 30.0), (0.7, 30.0), (0.71, None)])
def test_a_level_is_reached_at_the_first_validation_not_below_it(level, at):
    assert accuracy_per_second.reached_s(CURVE, level) == at


def test_setups_are_ranked_by_accuracy_at_the_time_that_all_had():
    records = [
        run("maml", ends=(0.2, 0.6, 0.8), step_s=0.2),  # 0, 150, 300 s
        run("fomaml", ends=(0.2, 0.5, 0.7), step_s=0.1),  # 0, 75, 150 s: the equal time
        run("anil", ends=(0.2, 0.6, 0.65), step_s=0.2),
        run("scratch", ends=(0.4,)),
        run("reptile", ends=(0.2, 0.9), step_s=0.1, steps=150),  # broken off after 15 s
    ]
    (field,) = accuracy_per_second.fields(SUITE, records)
    assert field.equal_s == pytest.approx(150.0)
    assert accuracy_per_second.levels(field) == [0.6, 0.7, 0.8]
    frame = accuracy_per_second.ranking(field)
    shown = frame[["rank", "setup", "at 150 s", "s to 60 %", "s to 70 %", "training s"]].to_numpy().tolist()
    assert shown == [
        ["1", "fomaml", "70.0 ± 2.0", "150", "150", "150"],
        ["2", "anil", "60.0 ± 2.0", "150", "-", "300"],
        ["2", "maml", "60.0 ± 2.0", "150", "300", "300"],
        ["4", "scratch", "40.0 ± 2.0", "-", "-", "0"],
        ["-", "reptile", "-", "15", "15", "15, 10 %"],
    ]
    assert only(frame, setup="fomaml")["s/step"] == "0.100"


def test_a_preset_that_may_not_rank_shows_its_seconds_only():
    (field,) = accuracy_per_second.fields(SUITE, [run(ranked=False), run("anil", ranked=False)])
    frame = accuracy_per_second.ranking(field)
    assert set(frame["rank"]) == {"unranked"}
    assert set(frame["training s"]) == {"150"}


def test_where_no_training_used_its_budget_the_shortest_of_all_is_the_equal_time():
    (field,) = accuracy_per_second.fields(SUITE, [run(steps=150), run("anil", steps=300)])
    assert field.equal_s == pytest.approx(15.0)


@pytest.mark.parametrize(
    "unlike", [{"threads": 1}, {"machine_id": "m2"}, {"device": "cuda:0"}, {"memory": "default"}, {"preset": "paper"}]
)
def test_seconds_of_unlike_runs_do_not_meet(unlike):
    assert accuracy_per_second.fields(SUITE, [run(), run("fomaml", **unlike)]) == []
    assert len(accuracy_per_second.claim(SUITE, [run(), run("fomaml", **unlike)])) == 0


def test_the_ratio_of_first_order_to_second_order_steps():
    alike = [run(step_s=0.2), run("fomaml", timing_s={"outer_step": timing(0.1)})]
    line = only(accuracy_per_second.claim(SUITE, [*alike, run("anil")]))
    assert (line["maml s/step"], line["fomaml s/step"]) == ("0.200", "0.100")
    low, high = min(0.1 / 0.21, 0.095 / 0.2), max(0.1 / 0.19, 0.105 / 0.2)
    assert line["ratio"] == f"0.50 ({low:.2f} to {high:.2f})"
    assert len(accuracy_per_second.claim(SUITE, [alike[0], replace(alike[1], schedule="traced")])) == 0
    assert len(accuracy_per_second.claim(SUITE, [alike[0], replace(alike[1], commit="other")])) == 0
    other = run("fomaml")
    other.recipe["train"] = {"way": 5, "shot": 1, "query": 15}
    assert len(accuracy_per_second.claim(SUITE, [alike[0], other])) == 0


def test_mean_curves_are_over_the_seeds_at_the_steps_that_all_had():
    (group,) = aggregate([run(ends=(0.2, 0.6, 0.8)), run(ends=(0.4, 0.8), seed=1)])
    curve = mean_curve(group)
    assert curve.steps.tolist() == [0, 1500]
    assert curve.mean == pytest.approx([0.3, 0.8])


def test_the_files_hold_all_of_it_and_are_equal_when_made_again(tmp_path):
    records = [
        run(published=[PAPER]),
        run("fomaml"),
        run("anil", status="failed", reason="out of luck", evaluations=[]),
    ]
    made = write_suite_tables(records, tmp_path)
    assert [path.name for path in made] == ["images.md", "images.csv", "images.tex"]
    text = made[0].read_text()
    for words in (
        "| Omniglot 5w1s",
        "98.0 ± 1.4 (98.7 ± 0.4)",
        "## Accuracy per second",
        "33 % speed-up",
        "out of luck",
    ):
        assert words in text
    assert "98.0 $\\pm$ 1.4" in made[2].read_text()
    before = [path.read_bytes() for path in made]
    write_suite_tables(reversed(records), tmp_path)
    assert [path.read_bytes() for path in made] == before
    assert write_suite_tables([run(recipe="sinusoid-k10")], tmp_path) == []


def view(records, preset="quick"):
    return View("two", SUITE, preset, places(SUITE, records), looks(r.recipe["setup"]["name"] for r in records))


def draw(name, records):
    with matplotlib.rc_context(STYLE):
        return discover("draw_suite")[name](view(records))


def test_suite_figures_are_found_and_written(tmp_path):
    assert list(discover("draw_suite")) == ["accuracy-seconds", "published-measured"]
    made = write_suite_figures([run(published=[PAPER]), run("fomaml")], tmp_path)
    assert [path.name for path in made] == [
        "images-accuracy-seconds-quick-m1-cpu-2.pdf", "images-accuracy-seconds-quick-m1-cpu-2.png",
        "images-published-measured-quick.pdf", "images-published-measured-quick.png",
    ]  # fmt: skip


def test_accuracy_is_drawn_against_seconds_a_panel_per_problem_a_line_per_setup():
    records = [
        *(
            run(setup, recipe, step_s=0.2)
            for setup in ("maml", "fomaml")
            for recipe in ("omniglot-5w1s", "omniglot-20w1s")
        ),
        run("scratch", ends=(0.4,)),
        run("reptile", steps=150),
    ]
    (figure,) = draw("accuracy-seconds", records).values()
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["O 5w1s", "O 20w1s"]
    lines = {line.get_label(): line for line in first.get_lines()}
    assert list(lines) == ["fomaml", "maml", "reptile", "scratch"]
    assert lines["maml"].get_xydata().ravel() == pytest.approx([150, 60, 300, 80])  # the axis has no 0 s
    assert lines["scratch"].get_ydata() == [40, 40]
    assert (lines["maml"].get_markerfacecolor(), lines["reptile"].get_markerfacecolor()) == (
        lines["maml"].get_color(),
        "white",
    )
    assert len(second.get_lines()) == 2
    assert first.get_xscale() == "log"
    assert "open end" in figure.get_suptitle()


def test_no_figure_of_seconds_for_one_setup_or_for_two_that_ran_unlike():
    assert draw("accuracy-seconds", [run(), run("scratch", ends=(0.4,))]) == {}
    assert draw("accuracy-seconds", [run(), run("fomaml", threads=1)]) == {}


def test_measured_stands_over_published_with_both_intervals():
    bare = {key: value for key, value in PAPER.items() if key != "ci95"}
    records = [run(published=[PAPER]), run("fomaml", published=[bare]), run("anil")]
    (figure,) = draw("published-measured", records).values()
    (axes,) = figure.axes
    found = {bars.get_label(): bars for bars in axes.containers}
    assert set(found) == {"maml", "fomaml"}
    assert found["maml"].lines[0].get_xydata().ravel() == pytest.approx([98.7, 98.0])
    assert (found["maml"].has_xerr, found["fomaml"].has_xerr) == (True, False)
    assert axes.get_xlim() == axes.get_ylim()
    assert draw("published-measured", [run()]) == {}


def test_the_shipped_suite_has_columns_of_different_names():
    assert len({cell.column for cell in suite("images").cells}) == 6
