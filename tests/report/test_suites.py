"""The table and the figures of a suite: what stands in which cell, and nothing put together that is unlike."""

from dataclasses import replace

import matplotlib
import pytest
from record_factory import ACCURACY, PAPER, evaluation, record

from maml_bench.record import Curve
from maml_bench.report.aggregate import aggregate
from maml_bench.report.curves import mean_curve
from maml_bench.report.figures import View, discover, write_suite_figures
from maml_bench.report.style import STYLE, caption, looks
from maml_bench.report.suite_tables import cell_of, places, scores
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


def test_a_recipe_belongs_to_the_cell_whose_id_it_has_or_carries_on():
    assert cell_of(SUITE, "omniglot-5w1s") == (CELLS[0], "")
    assert cell_of(SUITE, "omniglot-5w1s-mlp-text") == (CELLS[0], "mlp-text")
    assert cell_of(SUITE, "omniglot-5w1s2") is None
    assert cell_of(SUITE, "sinusoid-k10") is None


def test_runs_of_other_recipes_and_changed_runs_do_not_count():
    changed = run()
    changed.recipe["changed"] = ["inner.rate=1"]
    mine = run()
    (place,) = places(SUITE, [changed, run(recipe="other"), mine])
    assert place.group.records == (mine,)


def test_setups_that_a_suite_does_not_run_do_not_count():
    records = [run(), run("anil"), run("matching", recipe="omniglot-20w1s")]
    assert [place.setup for place in places(suite("table1"), records)] == ["maml", "matching"]
    assert [place.setup for place in places(suite("images"), records)] == ["anil", "maml", "matching"]


def test_a_row_holds_one_setup_on_all_problems():
    records = [run(), run(recipe="omniglot-20w1s", steps=300, values=[0.5, 0.5]), run("anil", values=[0.9, 0.9])]
    frame = scores(SUITE, records)
    assert frame.to_dict("records") == [
        {"setup": "anil", "preset": "quick", "test": "1 query", "machine": "m1 cpu", "O 5w1s": "90.0 ± 0.0",
         "O 20w1s": ""},
        {"setup": "maml", "preset": "quick", "test": "1 query", "machine": "m1 cpu", "O 5w1s": "98.0 ± 1.4",
         "O 20w1s": "50.0 ± 0.0, 300 of 1,500 steps"},
    ]  # fmt: skip
    assert scores(SUITE, []).empty


def test_unlike_runs_have_rows_of_their_own():
    test = evaluation({3: [0.5]}, ACCURACY)
    modern = replace(test, protocol="modern", query=15, normalisation="support", checkpoint="selected")
    records = [
        run(evaluations=[test, modern]),
        run(ranked=False, preset="smoke"),
        run(preset="paper"),
        run(recipe="omniglot-5w1s-text"),
        run(machine_id="m2"),
    ]
    rows = [tuple(row) for row in scores(SUITE, records)[["setup", "preset", "test", "machine"]].to_numpy()]
    assert rows == [
        ("maml", "paper", "1 query", "m1 cpu"),
        ("maml", "quick", "1 query", "m1 cpu"),
        ("maml", "quick", "1 query", "m2 cpu"),
        ("maml", "quick", "15 query, modern, support", "m1 cpu"),
        ("maml (text)", "quick", "1 query", "m1 cpu"),
        ("maml", "smoke, unranked", "1 query", "m1 cpu"),
    ]


def test_a_cell_shows_the_group_that_used_most_of_its_budget():
    (row,) = scores(SUITE, [run(steps=300, values=[0.1, 0.1], threads=1), run(values=[0.9, 0.9])]).to_dict("records")
    assert row["O 5w1s"] == "90.0 ± 0.0"


def test_mean_curves_are_over_the_seeds_at_the_steps_that_all_had():
    (group,) = aggregate([run(ends=(0.2, 0.6, 0.8)), run(ends=(0.4, 0.8), seed=1)])
    curve = mean_curve(group)
    assert curve.steps.tolist() == [0, 1500]
    assert curve.mean == pytest.approx([0.3, 0.8])


def view(records, preset="quick"):
    return View("two", SUITE, preset, places(SUITE, records), looks(r.recipe["setup"]["name"] for r in records))


def draw(name, records):
    with matplotlib.rc_context(STYLE):
        return discover("draw_suite")[name](view(records))


def test_suite_figures_are_found_and_written(tmp_path):
    assert list(discover("draw_suite")) == ["accuracy-seconds", "published-measured"]
    made = write_suite_figures([run(published=[PAPER]), run("fomaml")], tmp_path)
    assert all(path.is_file() for path in made)
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
    assert "an open one is before the end of the budget" in caption(figure)[1]


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
    assert draw("published-measured", [run(published=[PAPER], ranked=False)]) == {}


def test_variants_of_a_recipe_are_named_beside_their_marks():
    text = run(recipe="omniglot-5w1s-mlp-text", published=[PAPER])
    (figure,) = draw("published-measured", [run(published=[PAPER]), text]).values()
    assert [note.get_text() for note in figure.axes[0].texts] == ["", "mlp-text"]


def test_the_shipped_suite_has_columns_of_different_names():
    assert len({cell.column for cell in suite("images").cells}) == 6
