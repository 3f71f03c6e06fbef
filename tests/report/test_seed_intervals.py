"""The interquartile mean over seeds and its bootstrap interval: values computed on paper, and who is shown."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from record_factory import ACCURACY, MSE, PAPER, evaluation, record

from maml_bench.report.aggregate import aggregate
from maml_bench.report.figures import selections
from maml_bench.report.figures.seed_intervals import RESAMPLES, draw, interquartile, panels
from maml_bench.report.style import STYLE, caption


def test_the_mean_of_the_middle_half_of_eight_numbers():
    assert interquartile(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])).value == (2 + 3 + 4 + 5) / 4


@pytest.mark.parametrize(("runs", "mean"), [([1, 2, 9], 4), ([1, 2, 4, 90], 3), ([0, 1, 2, 3, 90], 2)])
def test_a_quarter_is_rounded_down_to_whole_runs(runs, mean):
    assert interquartile(np.array(runs, float)).value == mean


def test_the_middle_half_is_of_the_runs_of_all_tasks_together():
    assert interquartile(np.array([0.0, 1, 2, 3]), np.array([10.0, 11, 12, 13])).value == (2 + 3 + 10 + 11) / 4


def test_the_interval_of_equal_runs_is_their_value():
    assert interquartile(np.full(5, 0.7)) == pytest.approx((0.7, 0.7, 0.7))


def test_runs_are_drawn_within_their_task():
    """Each sample has the three zeros and the three tens: a sample over both tasks would have other numbers of them."""
    assert interquartile(np.zeros(4), np.full(4, 10.0)) == (5.0, 5.0, 5.0)


def test_the_interval_holds_the_mean_and_is_the_same_when_made_again():
    runs = np.random.default_rng(3).normal(size=10)
    first = interquartile(runs)
    assert first.low < first.value < first.high
    assert first == interquartile(runs)


def test_three_runs_have_the_interval_from_the_lowest_to_the_highest():
    """All three draws are the lowest in 1 of 27 samples, which is more than 2.5 %."""
    assert interquartile(np.array([1.0, 2.0, 6.0])) == pytest.approx((3.0, 1.0, 6.0))


def runs(setup, seeds, level=0.5, **fields):
    return [
        record(setup=setup, seed=seed, evaluations=[evaluation({3: [level, level + 0.02 * seed]}, ACCURACY)], **fields)
        for seed in seeds
    ]


def drawn(records):
    (selection,) = selections(records)
    with matplotlib.rc_context(STYLE):
        return draw(selection)


def labels(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_a_group_of_two_seeds_is_left_out_and_the_caption_lists_it():
    figure = drawn([*runs("maml", range(3)), *runs("anil", range(2)), *runs("fomaml", [4])])
    assert labels(figure) == ["maml, 3 seeds"]
    assert "not shown: anil (2 seeds), fomaml (1 seed)." in caption(figure)[1]
    assert drawn(runs("maml", range(2))) is None


def test_the_title_says_the_seeds_of_what_is_shown():
    figure = drawn([*runs("maml", range(3)), *runs("anil", [4]), *runs("fomaml", [4])])
    assert "seeds 0 to 2" in caption(figure)[0]


def test_the_caption_has_the_definition_and_what_makes_it_reproducible():
    text = caption(drawn(runs("maml", range(3))))[1]
    for words in ("interquartile mean (IQM)", f"{RESAMPLES:,} stratified bootstrap samples", "seed 0 of the generator"):
        assert words in text


def test_the_best_setup_stands_on_top_and_the_values_are_in_percent():
    figure = drawn([*runs("anil", range(3), 0.4), *runs("maml", range(4), 0.6)])
    assert labels(figure) == ["maml, 4 seeds", "anil, 3 seeds"]
    (axes,) = figure.axes
    assert axes.containers[0].lines[0].get_xdata() == pytest.approx([61.5])
    assert sorted(axes.get_lines()[3].get_xdata()) == pytest.approx([60, 61, 62, 63])
    assert axes.get_xlabel() == "test accuracy, %"
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is the upper one


def test_seeds_of_all_machines_count_once_each():
    records = [*runs("maml", [0]), *runs("maml", [0, 1, 2], machine_id="m2", started_at="2027-01-01T00:00:00Z")]
    (selection,) = selections(records)
    assert len(aggregate(records)) == 2
    assert [group.seeds for group in aggregate(records, machines=False)] == [(0, 1, 2)]
    assert labels(drawn([*runs("maml", [0]), *runs("maml", [1, 2], machine_id="m2")])) == ["maml, 3 seeds"]
    assert selection.together().one.seeds == (0, 1, 2)
    assert [group.seeds for group in selection.together().hidden] == [(0,)]


def test_other_settings_are_never_put_together():
    longer = runs("maml", [2], outer_steps=500)
    assert drawn([*runs("maml", [0, 1]), *longer]) is None


def test_a_diverged_setup_is_named_and_not_averaged():
    lost = [record(setup="anil", seed=s, metric=MSE, evaluations=[evaluation({1: [5000.0]}, MSE)]) for s in range(3)]
    fine = [record(setup="maml", seed=s, metric=MSE, evaluations=[evaluation({1: [1.0]}, MSE)]) for s in range(3)]
    figure = drawn([*lost, *fine])
    assert labels(figure) == ["maml, 3 seeds"]
    assert "anil (diverged, 5-way 1-shot)" in caption(figure)[1]


def test_the_published_value_stands_beside_whole_budgets_of_the_paper():
    for preset, marks in (("paper", 1), ("quick", 0)):
        figure = drawn(runs("maml", range(3), published=[PAPER], preset=preset))
        shown = [line for line in figure.axes[0].get_lines() if line.get_fillstyle() == "none"]
        assert len(shown) == marks
        assert ("An open mark is the published value." in caption(figure)[1]) == bool(marks)


def test_tests_are_panels_with_way_shot_and_inner_steps():
    first = evaluation({3: [0.5, 0.6]}, ACCURACY)
    tests = [first, replace(first, checkpoint="selected")]
    figure = drawn([record(seed=seed, evaluations=tests) for seed in range(3)])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["5-way 1-shot\nafter 3 inner steps", "5-way 1-shot, best validated\nafter 3 inner steps"]
    (selection,) = selections([record(seed=seed, evaluations=tests) for seed in range(3)])
    assert [len(rows) for rows in panels(selection)[0]] == [1, 1]
