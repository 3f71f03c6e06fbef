"""Interquartile mean of the test scores over seeds with bootstrap intervals, a panel per test and a row per setup.

After Agarwal et al. (2021, arXiv:2108.13264), sections 4.1 and 4.3, and their library rliable. Setups with fewer than
three seeds are left out, and the caption lists them. Scores of several recipes are not put into one number, because a
squared error, a return and an accuracy have no common scale.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import bootstrap, trim_mean

from maml_bench.report.aggregate import Key, Score, shape_in_words, shape_of
from maml_bench.report.figures import Selection, titles_of
from maml_bench.report.formats import scale
from maml_bench.report.statistics import MIN_SEEDS, Array, Interval
from maml_bench.report.style import canvas, heading, panel_titles, score_axis

RESAMPLES = 50_000
SEED = 0
PANELS = 3
DEFINITION = (
    "The interquartile mean (IQM) is the mean of the runs without the lowest and the highest quarter of them, rounded "
    "down to whole runs: of three runs none is left out, of eight runs four. The score of a run is its mean over the "
    f"test tasks. Bars are 95 % percentile intervals of {RESAMPLES:,} stratified bootstrap samples, in which the runs "
    f"of each test are drawn again with replacement (seed {SEED} of the generator). Seeds of all machines count."
)


class Row(NamedTuple):
    """One setup on one test: the score after ``inner_steps``, the mean score of each seed, and their IQM."""

    setup: str
    score: Score
    seeds: list[float]
    interval: Interval


def interquartile(*strata: Array) -> Interval:
    """The interquartile mean of all runs, with its 95 % percentile interval by a stratified bootstrap.

    Args:
        strata: the scores of the runs of each task, one array a task. Runs are drawn again within their task. The
            middle half is taken of the runs of all tasks together.
    """

    def iqm(*samples: Array, axis: int = -1) -> Any:
        return trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis)

    drawn = bootstrap(strata, iqm, n_resamples=RESAMPLES, method="percentile", vectorized=True, rng=SEED)
    low, high = drawn.confidence_interval
    return Interval(float(iqm(*strata)), float(low), float(high))


WHAT = "interquartile mean over seeds"


def panels(selection: Selection) -> tuple[list[list[Row]], list[str]]:
    """The rows of each test, best first, and who is missing: a phrase a setup that has too few seeds or diverged.

    The tests are those that most setups have. Each score is the one that `Group.headlines` chooses.
    """
    tests: dict[Key, list[Row]] = {}
    missing = []
    bound = math.inf if selection.metric.diverged_above is None else selection.metric.diverged_above
    for setup, group in selection.groups.items():
        if len(group.seeds) < MIN_SEEDS:
            missing.append(f"{setup} ({len(group.seeds)} seed{'s' if len(group.seeds) > 1 else ''})")
            continue
        for score in group.headlines():
            seeds = score.seed_means
            if not score.whole or max(seeds) > bound:
                missing.append(f"{setup} (diverged, {shape_in_words(score.evaluation)})")
                continue
            row = Row(setup, score, seeds, interquartile(np.array(seeds)))
            tests.setdefault(shape_of(score.evaluation), []).append(row)
    sign = -1 if selection.metric.higher_is_better else 1
    order = sorted(tests, key=lambda shape: (-len(tests[shape]), shape[2:]))[:PANELS]
    return [sorted(tests[shape], key=lambda row: sign * row.interval.value) for shape in order], missing


def draw(selection: Selection) -> Figure | None:
    """None unless some setup has at least three seeds."""
    selection = selection.together()
    tests, missing = panels(selection)
    if not tests:
        return None
    metric, times = selection.metric, scale(selection.metric.name)
    setups = list(dict.fromkeys(row.setup for rows in tests for row in rows))
    figure, shown = canvas(1, len(tests), 0.7 + 0.25 * len(setups), sharey=True)
    published = False
    panel_titles(shown, titles(tests))
    for axes, rows in zip(shown, tests, strict=True):
        for row in rows:
            published |= _draw_row(axes, selection, row, setups.index(row.setup))
        score_axis(axes, metric, [seed * times for row in rows for seed in row.seeds], across=True)
        axes.set_xlabel(f"test {axes.get_xlabel()}")
        axes.grid(visible=False, axis="y")
    seeds = {row.setup: len(row.seeds) for rows in tests for row in rows}
    shown[0].set_yticks(range(len(setups)), [f"{setup}, {seeds[setup]} seeds" for setup in setups])
    shown[0].set_ylim(len(setups) - 0.4, -0.6)  # the first one on top
    heading(
        figure,
        replace(selection, groups={setup: selection.groups[setup] for setup in setups}).title(WHAT),
        DEFINITION,
        "Short vertical lines are the seeds.",
        "An open mark is the published value." if published else "",
        left_out(missing),
        selection.rule(),
    )
    return figure


def left_out(missing: Sequence[str]) -> str:
    """A sentence for the caption about the setups that `panels` found ``missing``; empty where there are none."""
    return f"Without {MIN_SEEDS} seeds, or diverged, so not shown: {', '.join(missing)}." if missing else ""


def titles(tests: Sequence[Sequence[Row]]) -> list[str]:
    """For each test its way and shot, and after how many inner steps the setups were scored."""
    made = []
    for name, rows in zip(titles_of([rows[0].score.evaluation for rows in tests]), tests, strict=True):
        steps = sorted({row.score.inner_steps for row in rows})
        words = f"{' or '.join(map(str, steps))} inner step{'s' * (steps != [1])}"
        made.append(name if steps == [0] else f"{name}\nafter {words}")
    return made


def _draw_row(axes: Axes, selection: Selection, row: Row, y: int) -> bool:
    """Draw one setup, and return whether a published value stands beside it."""
    look, times = selection.looks[row.setup], scale(selection.metric.name)
    value, low, high = (number * times for number in row.interval)
    axes.errorbar(value, y, xerr=[[value - low], [high - value]], **look.point(), elinewidth=1.3, capsize=2.5)
    seeds = [seed * times for seed in row.seeds]
    axes.plot(seeds, [y] * len(seeds), "|", color=look.color, markersize=9, alpha=0.5)
    if row.score.published is None or not selection.published(row.setup):
        return False
    axes.plot(row.score.published["value"] * times, y, **look.hollow())
    return True
