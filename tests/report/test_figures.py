"""Figures: found by name, drawn without a warning, equal when made again, absent where records lack their material."""

import math
from dataclasses import replace

import matplotlib
import pytest
from record_factory import ACCURACY, MSE, PAPER, curve, evaluation, omniglot, record, sinusoid

from maml_bench.record import Curve
from maml_bench.report.figures import discover, selections, write_figures
from maml_bench.report.style import FEW_SEEDS, STYLE, amount_axis, canvas, heading, looks

SETUPS = ("maml", "pretrained", "scratch", "oracle")


def draw(name, records):
    (selection,) = selections(records)
    with matplotlib.rc_context(STYLE):
        return discover()[name](selection)


def names(paths):
    return [path.name for path in paths]


def test_every_figure_file_is_found():
    assert list(discover()) == ["examples", "generation", "learning-curves", "score-seconds", "steps", "walks"]


def test_all_figures_are_drawn_and_equal_when_drawn_again(tmp_path):
    records = [sinusoid(setup, seed) for setup in SETUPS for seed in (0, 1)]
    first, second = (write_figures(records, tmp_path / folder) for folder in ("a", "b"))
    stems = [f"sinusoid-k10-{name}-paper" for name in discover() if name not in ("walks", "generation")]
    assert names(first) == [stem + suffix for stem in stems for suffix in (".pdf", ".png")]
    assert all(path.stat().st_size > 5000 for path in first)
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)] == [True] * len(first)


def walked(setup):
    """A record of two goals and a walk to each, with a curve that counts steps in the world."""
    tasks = [{"goal": [0.1, 0.4], "walks": {"0": [[0, 0], [0.1, 0]], "1": [[0, 0], [0.1, 0.4]]}} for _ in range(2)]
    acted = replace(curve(-80, -10, 5, 100, 2.0), env_steps=[0, 1000, 2000, 3000, 4000])
    return replace(record(setup=setup, curve=acted), exhibit={"kind": "navigation", "tasks": tasks})


def test_walks_are_drawn_a_row_per_setup_and_a_column_per_goal():
    figure = draw("walks", [walked("maml"), walked("pretrained")])
    assert [axes.get_title() for axes in figure.axes] == [
        "maml, goal 1",
        "maml, goal 2",
        "pretrained, goal 1",
        "pretrained, goal 2",
    ]
    _, after, goal = figure.axes[0].get_lines()
    assert after.get_xydata().tolist() == [[0, 0], [0.1, 0.4]]
    assert goal.get_xydata().tolist() == [[0.1, 0.4]]
    assert "each row to its own scale" in figure.get_suptitle()
    assert draw("walks", [record()]) is None


def test_generation_shows_examples_beside_what_is_drawn_after_them():
    """Two images of 8x8: the first has ink in its first row, the second nowhere."""
    packed = ["ff" + 14 * "0", 16 * "0"]
    rows = [{"shot": shot, "support": packed[:shot], "drawn": {"1": packed}} for shot in (0, 1)]
    kept = {"kind": "generation", "side": 8, "rows": rows}
    figure = draw("generation", [replace(record(setup=setup), exhibit=kept) for setup in ("maml", "vae", "cavia")])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:4] == ["0 examples", "cavia", "1 example", "cavia"]
    assert titles[1::4] == ["cavia", "maml", "vae"]
    none, two = (axes.get_images() for axes in figure.axes[:2])
    assert none == []
    shown = two[0].get_array()
    assert shown.shape == (8, 8 + 2 + 8)
    assert (shown[0] == [1] * 8 + [0] * 10).all()
    assert (shown[1:] == 0).all()
    assert draw("generation", [record()]) is None


def test_learning_curves_are_drawn_against_steps_in_the_environment_in_reinforcement_learning():
    axes = draw("learning-curves", [walked("maml")]).axes
    assert [panel.get_xlabel() for panel in axes] == ["outer steps", "training time (s)", "steps in the environment"]
    assert list(axes[2].get_lines()[0].get_xdata()) == [0, 1000, 2000, 3000, 4000]


def test_classification_is_drawn_in_percent(tmp_path):
    records = [omniglot(setup) for setup in SETUPS[:3]]
    assert len(write_figures(records, tmp_path)) == 6
    figure = draw("steps", records)
    assert figure.axes[0].get_ylabel() == "accuracy, %"
    assert max(figure.axes[0].get_lines()[0].get_ydata()) > 10


def test_figures_without_their_material_are_left_out(tmp_path):
    assert write_figures([record()], tmp_path) == []
    assert write_figures([record(evaluations=[], status="failed")], tmp_path) == []
    assert draw("learning-curves", [record(curve=Curve())]) is None


def test_steps_show_the_means_and_a_cross_where_they_diverged():
    scores = evaluation({0: [4.0, 4.0], 1: [2.0, 1.0], 2: [5000.0, 1.0], 3: [math.nan, math.nan]}, MSE, 1, 10)
    figure = draw("steps", [record(evaluations=[scores], metric=MSE)])
    line, crosses = figure.axes[0].get_lines()
    assert list(line.get_xydata().flat) == [0, 4.0, 1, 1.5]
    assert list(crosses.get_xdata()) == [2, 3]
    assert "crosses: diverged" in figure.get_suptitle()


def test_setups_that_diverged_altogether_are_drawn_without_a_warning(tmp_path):
    lost = evaluation({steps: [math.nan, math.nan] for steps in range(4)}, MSE, 1, 10)
    nothing = Curve([0, 10], [0.0, 1.0], [None] * 2, [None, None], [None, None], 1, 9)
    records = [record(setup=s, evaluations=[lost], metric=MSE, curve=nothing) for s in ("maml", "anil")]
    one_left = [records[0], record(setup="anil", evaluations=[evaluation({3: [1.0, 2.0]}, MSE, 1, 10)], metric=MSE)]
    assert names(write_figures(records, tmp_path))[1:] == ["omniglot-5w1s-steps-quick.png"]
    assert len(write_figures(one_left, tmp_path)) == 2


def test_a_setup_without_inner_steps_is_a_level_line():
    figure = draw("steps", [sinusoid("maml", 0), sinusoid("oracle", 0)])
    levels = [line for line in figure.axes[0].get_lines() if line.get_label() == "oracle"]
    assert list(levels[0].get_xdata()) == [0, 10]


def test_learning_curves_average_seeds_at_the_steps_they_share():
    one = replace(record(seed=0), curve=Curve([0, 10], [0.0, 1.0], [None] * 2, [0.2, 0.4], [0.1, 0.1], 1, 9))
    two = replace(
        record(seed=1), curve=Curve([0, 10, 20], [0.0, 3.0, 6.0], [None] * 3, [0.2, 0.6, 0.8], [0.1] * 3, 1, 9)
    )
    steps, seconds = (axes.get_lines()[0].get_xydata() for axes in draw("learning-curves", [one, two]).axes)
    assert list(steps.flat) == pytest.approx([0, 20, 10, 50])
    assert list(seconds.flat) == pytest.approx([0, 20, 2, 50])


def test_few_seeds_have_a_thin_line_each_and_many_have_none():
    def of(seeds):
        tested = evaluation({0: [0.1, 0.2], 1: [0.3, 0.5], 2: [0.5, 0.7]}, record().metric)
        curve = Curve([0, 10], [0.0, 1.0], [None] * 2, [0.2, 0.4], [0.1, 0.1], 1, 9)
        return [replace(record(seed=seed, evaluations=[tested]), curve=curve) for seed in range(seeds)]

    for name in ("learning-curves", "steps"):
        for seeds, lines in ((1, 1), (3, 4), (FEW_SEEDS, 1 + FEW_SEEDS), (FEW_SEEDS + 1, 1)):
            figure = draw(name, of(seeds))
            drawn = [line for line in figure.axes[0].get_lines() if line.get_linestyle() != "None"]
            assert len(drawn) == lines
            assert ("thin: each seed" in figure.get_suptitle()) == (lines > 1)
    thin = draw("steps", of(3)).axes[0].get_lines()[1]
    assert list(thin.get_ydata()) == pytest.approx([15, 40, 60])


def test_headings_are_broken_where_the_figure_ends():
    figure, _ = canvas(1, 1, 2.0)
    before = figure.get_figheight()
    heading(figure, "short\n" + "word " * 30)
    lines = figure.get_suptitle().splitlines()
    assert lines[0] == "short"
    assert len(lines) == 4
    assert max(map(len, lines)) < 60
    assert figure.get_figheight() > before


def test_score_and_seconds_need_two_setups():
    assert draw("score-seconds", [omniglot("maml")]) is None
    assert draw("score-seconds", [omniglot("maml"), omniglot("anil")]) is not None


@pytest.mark.parametrize(("seconds", "axis"), [(100.0, "linear"), (5.0, "log")])
def test_score_and_seconds_that_differ_widely_have_a_logarithmic_axis(seconds, axis):
    figure = draw(
        "score-seconds", [replace(omniglot(setup), train_s=s) for setup, s in (("maml", 160.0), ("anil", seconds))]
    )
    assert figure.axes[0].get_xscale() == axis
    low, high = figure.axes[0].get_xlim()
    assert low < seconds
    assert high > 160


def test_seconds_of_two_places_never_share_an_axis():
    curves = {setup: curve(0.2, 0.9, 5, 100, 0.1) for setup in ("maml", "anil", "reptile", "fomaml")}
    places = {"reptile": {"machine_id": "m2"}, "fomaml": {"device": "cuda:0"}}
    records = [replace(omniglot(setup), curve=found, **places.get(setup, {})) for setup, found in curves.items()]
    records += [
        replace(omniglot("protonet"), earlier=[{"machine": "m0"}]),
        replace(omniglot("scratch"), outer_steps=0, budget_steps=0),
    ]
    (selection,) = selections(records)
    assert selection.timed == ["anil", "maml", "scratch"]
    assert selection.place().splitlines() == [
        "seconds of machine m1, cpu, 2 threads",
        "trained elsewhere, without seconds here: fomaml, protonet, reptile",
    ]
    steps, seconds = draw("learning-curves", records).axes
    shown = [[line.get_label() for line in axes.get_lines() if len(line.get_xdata()) > 2] for axes in (steps, seconds)]
    assert shown == [["anil", "fomaml", "maml", "protonet", "reptile"], ["anil", "maml"]]
    points = draw("score-seconds", records).axes[0].get_legend_handles_labels()[1]
    assert sorted(points) == ["anil", "maml", "scratch (no training)"]


def test_title_tells_budget_and_seeds_and_labels_what_differs():
    records = [omniglot("maml"), omniglot("anil"), replace(omniglot("reptile", machine="m2"), outer_steps=500)]
    (selection,) = selections(records)
    assert selection.title("x").splitlines() == ["omniglot-5w1s: x", "quick preset, 1,500 steps, seed 0"]
    assert selection.label("maml") == "maml"
    assert selection.label("reptile") == "reptile (500 of 1,500 steps)"


def test_presets_stay_apart_and_smoke_stands_back():
    records = [omniglot("maml", preset=preset) for preset in ("smoke", "quick", "paper")]
    assert sorted(selection.one.preset for selection in selections(records)) == ["paper", "quick"]
    assert [selection.one.preset for selection in selections(records[:1])] == ["smoke"]


def test_the_best_group_of_a_setup_is_shown():
    short = replace(omniglot("maml", machine="m2"), outer_steps=100)
    (selection,) = selections([short, omniglot("maml", seed=0), omniglot("maml", seed=1)])
    assert selection.one.seeds == (0, 1)


def test_looks_are_stable_and_distinct():
    many = [f"setup{i:03d}" for i in range(100)]
    found = looks(many)
    assert len(set(found.values())) == 100
    assert looks(reversed(many)) == found
    common = ["maml", "pretrained", "scratch", "oracle", "fomaml", "reptile", "protonet", "anil"]
    assert len({look.color for look in looks(common).values()}) == len(common)
    assert looks([*common, *many])["maml"] == looks(["maml"])["maml"], "a setup looks the same in every figure"


def test_curve_of_one_validation_is_a_level_line():
    still = replace(record(setup="scratch"), curve=curve(0.2, 0.2, 1, 1, 0.1))
    moving = replace(record(), curve=curve(0.2, 0.9, 5, 100, 0.1))
    assert len(draw("learning-curves", [still, moving]).axes[0].get_lines()) == 2


def test_millions_of_steps_are_told_as_such():
    figure = draw("learning-curves", [walked("maml")])
    axes = figure.axes[2]
    for far, label, tick in ((9_000, "steps in the world", "5,000"), (9_000_000, "steps in the world, millions", "5")):
        axes.dataLim.x1 = far
        amount_axis(axes, "steps in the world")
        assert axes.get_xlabel() == label
        assert axes.xaxis.get_major_formatter()(far / 9 * 5, 0) == tick


def test_published_values_stand_beside_the_steps_they_are_of():
    test = evaluation({0: [0.2, 0.3], 1: [0.5, 0.6], 3: [0.9, 1.0]}, ACCURACY)
    figure = draw("steps", [record(evaluations=[test], published=[PAPER])])
    (diamond,) = (line for line in figure.axes[0].lines if line.get_marker() == "D" and len(line.get_xdata()))
    assert (list(diamond.get_xdata()), list(diamond.get_ydata())) == ([3], pytest.approx([98.7]))
    assert "diamonds: published" in figure.get_suptitle()


def test_runs_with_changed_settings_are_drawn_where_their_recipe_has_nothing_else():
    changed = [record(recipe_id="eeeeeeee"), record(tasks="navigation", recipe="navigation", recipe_id="ffffffff")]
    for other in changed:
        other.recipe["changed"] = ["outer.trust.share=0.1"]
    found = selections([record(), *changed])
    assert [(one.one.recipe, one.one.changed) for one in found] == [
        ("navigation", "outer.trust.share=0.1"),
        ("omniglot-5w1s", ""),
    ]
    assert "changed: outer.trust.share=0.1" in found[0].title("x").splitlines()


def test_of_several_changes_the_figure_shows_those_that_most_setups_have():
    common = [record(setup=setup, recipe_id=setup.ljust(8, "0")) for setup in ("maml", "anil")]
    longer = record(recipe_id="ffffffff", outer_steps=3000)
    for one, change in zip([*common, longer], ["inner.rate=1"] * 2 + ["inner.rate=2"], strict=True):
        one.recipe["changed"] = [change]
    (selection,) = selections([longer, *common])
    assert list(selection.groups) == ["anil", "maml"]
    assert {group.changed for group in selection.groups.values()} == {"inner.rate=1"}


def test_panels_of_the_last_and_of_the_best_validated_weights_are_told_apart():
    scores = {0: [0.2, 0.3], 1: [0.5, 0.6], 2: [0.6, 0.7]}
    tests = [replace(evaluation(scores, ACCURACY), checkpoint=kind) for kind in ("last", "selected")]
    titles = [axes.get_title() for axes in draw("steps", [record(evaluations=tests)]).axes]
    assert titles == ["5-way 1-shot", "5-way 1-shot, best validated"]
