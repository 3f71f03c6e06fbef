"""Test score against inner steps, with a panel per test and a line per setup in its shaded 95 % interval.

After Finn et al. (2017), figure 3 (sinusoid, K = 5, 10, 20, up to 10 steps). A setup that never adapts is a horizontal
line. A mean that is not finite, or beyond the bound of a diverged episode, is a cross at the upper edge. A published
value is an open diamond.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maml_bench.report.aggregate import Key, Score, shape_in_words, shape_of
from maml_bench.report.figures import Selection
from maml_bench.report.formats import scale
from maml_bench.report.statistics import INTERVAL
from maml_bench.report.style import FEW_SEEDS, Look, canvas, heading, legend, score_axis

PANELS = 3


def draw(selection: Selection) -> Figure | None:
    """None unless some setup was tested after more than two numbers of inner steps."""
    lines: dict[Key, dict[str, list[Score]]] = {}
    for setup, group in selection.groups.items():
        for score in group.scores():
            lines.setdefault(shape_of(score.evaluation), {}).setdefault(setup, []).append(score)
    many = [shape for shape in lines if max(map(len, lines[shape].values())) > 2]
    shapes = sorted(many, key=lambda shape: shape[2:])[:PANELS]
    if not shapes:
        return None
    metric = selection.metric
    bound = math.inf if metric.diverged_above is None else metric.diverged_above
    figure, panels = canvas(1, len(shapes), 2.3, sharey=True)
    seen: list[float] = []
    crosses = diamonds = several = False
    for axes, shape in zip(panels, shapes, strict=True):
        longest = max(score.inner_steps for scores in lines[shape].values() for score in scores)
        for setup, scores in lines[shape].items():
            good = [score for score in scores if score.mean <= bound]
            lost = [score.inner_steps for score in scores if score not in good]
            crosses = crosses or bool(lost)
            seen += [score.mean for score in good]
            look, times = selection.looks[setup], scale(metric.name)
            if len(scores) == 1 and good:
                axes.plot([0, longest], [good[0].mean * times] * 2, label=selection.label(setup), **look.level())
            else:
                _line(axes, good, times, look, selection.label(setup))
                several = several or (bool(good) and _few(good[0]))
            given = {score.inner_steps: score.published["value"] * times for score in scores if score.published}
            if given:
                axes.plot(list(given), list(given.values()), "D", color=look.color, markersize=6, fillstyle="none")
                diamonds = True
            seen += [value / times for value in given.values()]
            if lost:
                edge = axes.get_xaxis_transform()
                axes.plot(lost, [1] * len(lost), "x", color=look.color, markersize=6, transform=edge, clip_on=False)
        test = scores[0].evaluation
        best = ", best validated" if test.checkpoint == "selected" else ""
        axes.set_title(f"{shape_in_words(test)}{best}")
        axes.set_xlabel("inner steps")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    score_axis(panels[0], metric.name, seen)
    legend(figure, max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1])))
    note = f"bands: {INTERVAL}" + ("; diamonds: published" if diamonds else "")
    note += "; thin: each seed" if several else ""
    note += "; crosses: diverged" if crosses else ""
    heading(figure, selection.title("test score after inner steps", note))
    return figure


def _line(axes: Axes, scores: Sequence[Score], times: float, look: Look, label: str) -> None:
    x = [score.inner_steps for score in scores]
    axes.plot(x, [score.mean * times for score in scores], label=label, **look.line())
    low, high = ([(score.mean + sign * score.ci95) * times for score in scores] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=look.color, alpha=0.15, linewidth=0)
    for values in zip(*(score.values for score in scores), strict=True) if scores and _few(scores[0]) else ():
        axes.plot(x, [float(np.nanmean(seed)) * times for seed in values], **look.thin())


def _few(score: Score) -> bool:
    return 1 < len(score.values) <= FEW_SEEDS
