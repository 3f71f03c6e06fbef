"""Figures: found by name, drawn without a warning, equal when made again, absent where records lack their material."""

import math
from dataclasses import replace

import matplotlib
import pytest
from matplotlib.text import Text
from record_factory import ACCURACY, MSE, PAPER, curve, evaluation, omniglot, record, sinusoid, timing

from maml_bench.record import Curve, Metric
from maml_bench.report.figures import discover, selections, titles_of, write_captions, write_figures
from maml_bench.report.style import (
    FEW_LINES,
    FEW_SEEDS,
    STYLE,
    amount_axis,
    canvas,
    caption,
    heading,
    log_ticks,
    looks,
)

RETURN = Metric("return")
SETUPS = ("maml", "pretrained", "scratch", "oracle")


def draw(name, records):
    (selection,) = selections(records)
    with matplotlib.rc_context(STYLE):
        return discover()[name](selection)


def names(paths):
    return [path.name for path in paths]


def test_every_figure_file_is_found():
    names = ["examples", "generation", "learning-curves", "score-seconds", "seed-intervals", "steps", "walks"]
    assert list(discover()) == names


def test_all_figures_are_drawn_and_equal_when_drawn_again(tmp_path):
    records = [sinusoid(setup, seed) for setup in SETUPS for seed in (0, 1)]
    first, second = (write_figures(records, tmp_path / folder) for folder in ("a", "b"))
    apart = ("generation", "walks", "seed-intervals")
    stems = [f"sinusoid-k10-{name}-paper" for name in discover() if name not in apart]
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
    assert "Each row has its own scale." in caption(figure)[1]
    assert [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes] == ["y", "", "xy", "x"]
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
    assert figure.axes[0].get_ylabel() == "test accuracy, %"
    assert max(figure.axes[0].get_lines()[0].get_ydata()) > 10


def test_figures_without_their_material_are_left_out(tmp_path):
    assert write_figures([record()], tmp_path) == {}
    assert write_figures([record(evaluations=[], status="failed")], tmp_path) == {}
    assert draw("learning-curves", [record(curve=Curve())]) is None


def test_steps_show_the_means_and_a_cross_where_they_diverged():
    scores = evaluation({0: [4.0, 4.0], 1: [2.0, 1.0], 2: [5000.0, 1.0], 3: [math.nan, math.nan]}, MSE, 1, 10)
    figure = draw("steps", [record(evaluations=[scores], metric=MSE)])
    line, crosses = figure.axes[0].get_lines()
    assert list(line.get_xydata().flat) == [0, 4.0, 1, 1.5]
    assert list(crosses.get_xdata()) == [2, 3]
    assert "Crosses are diverged." in caption(figure)[1]


def test_the_axis_of_instances_counts_the_images_that_were_shown_before():
    instances = evaluation({shown: [0.2 + 0.1 * shown] * 4 for shown in range(4)}, ACCURACY)
    figure = draw("steps", [record(setup="mann", tasks="omniglot_instances", evaluations=[instances])])
    assert figure.axes[0].get_xlabel() == "images of the class that were shown before"
    assert "test score at each instance" in caption(figure)[0]
    usual = draw("steps", [record(evaluations=[instances])])
    assert usual.axes[0].get_xlabel() == "inner steps"
    assert "test score after inner steps" in caption(usual)[0]


def test_setups_that_diverged_altogether_are_drawn_without_a_warning(tmp_path):
    lost = evaluation({steps: [math.nan, math.nan] for steps in range(4)}, MSE, 1, 10)
    nothing = Curve([0, 10], [0.0, 1.0], [None] * 2, [None, None], [None, None], 1, 9)
    records = [record(setup=s, evaluations=[lost], metric=MSE, curve=nothing) for s in ("maml", "anil")]
    one_left = [records[0], record(setup="anil", evaluations=[evaluation({3: [1.0, 2.0]}, MSE, 1, 10)], metric=MSE)]
    assert names(write_figures(records, tmp_path))[1:] == ["omniglot-5w1s-steps-quick.png"]
    assert len(write_figures(one_left, tmp_path)) == 2


def test_the_band_of_one_failed_seed_of_three_does_not_make_the_rest_unreadable():
    scores = ((-10, -9, -8), (-11, -10, -9), (-40, -39, -38))
    seeds = [
        record(seed=seed, metric=RETURN, evaluations=[evaluation({k: [v] * 4 for k, v in enumerate(each)}, RETURN)])
        for seed, each in enumerate(scores)
    ]
    figure = draw("steps", seeds)
    low, high = figure.axes[0].get_ylim()
    assert -45 < low < -40, "all seeds are inside"
    assert -8 < high < 0, "the interval over the seeds reaches 24"
    assert "Bands that reach beyond the axis are cut off." in caption(figure)[1]
    figure = draw("steps", seeds[:1])
    assert "cut off" not in caption(figure)[1]


def test_a_setup_without_inner_steps_is_a_level_line():
    figure = draw("steps", [sinusoid("maml", 0), sinusoid("oracle", 0)])
    levels = [line for line in figure.axes[0].get_lines() if line.get_label() == "oracle"]
    assert list(levels[0].get_xdata()) == [0, 1]  # the whole width of the axes


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
            assert ("Thin lines are the seeds." in caption(figure)[1]) == (lines > 1)
    thin = draw("steps", of(3)).axes[0].get_lines()[1]
    assert list(thin.get_ydata()) == pytest.approx([15, 40, 60])


def test_headings_are_broken_where_the_figure_ends_and_the_caption_has_the_whole_title():
    figure, _ = canvas(1, 1, 2.0)
    before = figure.get_figheight()
    heading(figure, "short\n" + "word " * 30, "One.", "", "Two.")
    assert caption(figure) == ("short, " + "word " * 30, "One. Two.")
    lines = figure.get_suptitle().splitlines()
    assert lines[0] == "short"
    assert len(lines) == 4
    assert max(map(len, lines)) < 60
    assert figure.get_figheight() > before


def test_score_and_seconds_need_two_trained_setups():
    assert draw("score-seconds", [omniglot("maml")]) is None
    assert draw("score-seconds", [omniglot("maml"), replace(omniglot("scratch"), train_s=0.0)]) is None
    assert draw("score-seconds", [omniglot("maml"), omniglot("anil")]) is not None


def test_the_caption_says_what_the_time_of_a_shared_machine_is():
    steps = timing(0.1) | {"total": 1500 * 0.2}
    shared = [replace(omniglot(setup), timing_s={"outer_step": steps}) for setup in ("anil", "maml")]
    shared[0] = replace(shared[0], step_blocks_s=[])
    text = caption(draw("score-seconds", [*shared, omniglot("fomaml")]))[1]
    assert "These shared their machine; their time is an upper bound: anil." in text
    assert "These shared their machine; their time is that of undisturbed steps: maml." in text


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
    assert selection.place() == (
        "Seconds are of machine m1, cpu, 2 threads. "
        "Trained on another machine or on several, so without seconds: fomaml, protonet, reptile."
    )
    steps, seconds = draw("learning-curves", records).axes
    shown = [[line.get_label() for line in axes.get_lines() if len(line.get_xdata()) > 2] for axes in (steps, seconds)]
    assert shown == [["anil", "fomaml", "maml", "protonet", "reptile"], ["anil", "maml"]]
    points = draw("score-seconds", records).axes[0].get_legend_handles_labels()[1]
    assert sorted(points) == ["anil", "maml", "scratch (no training)"]


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


def test_published_values_stand_beside_the_steps_they_are_of_and_beside_whole_budgets_only():
    test = evaluation({0: [0.2, 0.3], 1: [0.5, 0.6], 3: [0.9, 1.0]}, ACCURACY)
    whole = record(evaluations=[test], published=[PAPER], preset="paper")
    figure = draw("steps", [whole])
    (line, mark) = figure.axes[0].get_lines()
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([3], pytest.approx([98.7]))
    assert (mark.get_marker(), mark.get_color(), mark.get_fillstyle()) == (line.get_marker(), line.get_color(), "none")
    assert "Open marks are published values." in caption(figure)[1]
    for other in (replace(whole, outer_steps=1000), record(evaluations=[test], published=[PAPER])):
        figure = draw("steps", [other])
        assert len(figure.axes[0].get_lines()) == 1
        assert "published" not in caption(figure)[1]


def test_panels_of_the_last_and_of_the_best_validated_weights_are_told_apart():
    scores = {0: [0.2, 0.3], 1: [0.5, 0.6], 2: [0.6, 0.7]}
    tests = [replace(evaluation(scores, ACCURACY), checkpoint=kind) for kind in ("last", "selected")]
    titles = [axes.get_title() for axes in draw("steps", [record(evaluations=tests)]).axes]
    assert titles == ["5-way 1-shot", "5-way 1-shot, best validated"]


def test_panels_of_one_shape_are_told_apart_by_query_and_number_of_tasks():
    first = evaluation({0: [0.2], 1: [0.5], 2: [0.6]}, ACCURACY)
    tests = [first, replace(first, query=15), replace(first, episodes=600)]
    assert titles_of(tests) == [
        "5-way 1-shot, query 1, test tasks 1",
        "5-way 1-shot, query 15",
        "5-way 1-shot, query 1, test tasks 600",
    ]


def test_the_axis_of_signed_returns_is_never_logarithmic():
    for better, scale in ((True, "linear"), (False, "log")):
        metric = Metric("return", "", higher_is_better=better)
        far = evaluation({0: [1.0, 2.0], 1: [20.0, 30.0], 2: [500.0, 400.0]}, metric)
        assert draw("steps", [record(evaluations=[far], metric=metric)]).axes[0].get_yscale() == scale


def test_the_legend_of_steps_names_the_setups_of_all_panels():
    scores = {0: [0.2, 0.3], 1: [0.5, 0.6], 2: [0.6, 0.7]}
    one, other = evaluation(scores, ACCURACY), replace(evaluation(scores, ACCURACY), query=15)
    setups = ("fomaml", "maml", "boil")
    figure = draw(
        "steps",
        [record(setup=setup, evaluations=[test]) for setup, test in zip(setups, (one, one, other), strict=True)],
    )
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["boil", "fomaml", "maml"]


def test_a_run_that_was_moved_to_another_machine_has_no_seconds():
    moved = [replace(omniglot(setup), earlier=[{"machine": "m0"}]) for setup in ("maml", "anil")]
    assert [axes.get_xlabel() for axes in draw("learning-curves", moved).axes] == ["outer steps"]
    assert draw("score-seconds", moved) is None


def test_trained_setups_that_were_validated_once_are_a_mark_and_untrained_ones_a_line():
    records = [omniglot("maml"), replace(omniglot("anil"), curve=curve(0.2, 0.2, 1, 1, 0.1)), omniglot("scratch")]
    lines = {line.get_label(): line for line in draw("learning-curves", records).axes[0].get_lines()}
    assert list(lines["anil"].get_xdata()) == [0]
    assert len(lines["scratch (no training)"].get_xdata()) == 2


def test_budgets_that_differ_widely_have_an_axis_on_which_the_short_ones_can_be_read():
    def of(steps):
        trained = {"maml": 100, "baseline": steps}
        return [
            replace(omniglot(setup), curve=curve(0.2, 0.9, 5, far, 0.1), outer_steps=far, budget_steps=far)
            for setup, far in trained.items()
        ]

    assert [axes.get_xscale() for axes in draw("learning-curves", of(500)).axes] == ["linear"] * 2
    assert [axes.get_xscale() for axes in draw("learning-curves", of(5000)).axes] == ["symlog"] * 2


def test_many_setups_have_no_bands_because_they_would_cover_each_other():
    names = [f"setup{i}" for i in range(FEW_LINES + 1)]
    for name in ("learning-curves", "steps"):
        for setups in (names[:-1], names):
            figure = draw(name, [omniglot(setup) for setup in setups])
            assert len(figure.axes[0].collections) == (len(setups) if len(setups) <= FEW_LINES else 0)
            assert ("Bands are" in caption(figure)[1]) == (len(setups) <= FEW_LINES)


@pytest.mark.parametrize(("low", "high"), [(1, 5), (14, 600), (13, 1200), (0.002, 5)])
def test_a_logarithmic_axis_has_at_least_three_labels(low, high):
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = canvas(1, 1, 2.0)
        axes.plot([low, high], [0, 0])
        axes.set_xscale("log")
        log_ticks(axes.xaxis, [low, high], dense=30)
        figure.draw_without_rendering()
        first, last = axes.get_xlim()
        assert sum(first <= tick <= last for tick in axes.get_xticks()) >= 3


def test_no_text_of_a_figure_is_smaller_than_seven_points_or_cut_off(tmp_path):
    long = [f"a_setup_with_a_long_name_{i}" for i in range(10)]
    records = [sinusoid(setup, seed) for setup in SETUPS for seed in range(3)]
    records += [omniglot(setup) for setup in long]
    for selection in selections(records):
        for draw_one in discover().values():
            with matplotlib.rc_context(STYLE):
                figure = draw_one(selection)
                if figure is None:
                    continue
                figure.draw_without_rendering()
                texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
                assert min(text.get_fontsize() for text in texts) >= 7
                titles = [*figure.texts, *(axes.title for axes in figure.axes), *figure.legends]
                for title in titles:
                    box = title.get_window_extent()
                    assert box.x0 >= 0, title
                    assert box.x1 <= figure.bbox.x1, title


def test_captions_stand_in_a_file_and_in_the_pictures(tmp_path):
    drawn = write_figures([omniglot("maml"), omniglot("anil")], tmp_path)
    (path,) = write_captions(drawn, tmp_path)
    text = path.read_text()
    assert "![omniglot-5w1s: learning curves, quick preset, 1,500 steps, seed 0]" in text
    assert "(omniglot-5w1s-learning-curves-quick.png)" in text
    assert "Bands are 95 % intervals over the validation tasks." in text
    assert b"Bands are 95 % intervals" in (tmp_path / "omniglot-5w1s-learning-curves-quick.png").read_bytes()
    assert write_captions({}, tmp_path) == []
