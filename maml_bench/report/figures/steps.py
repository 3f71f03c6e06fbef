"""Test score against inner steps, with a panel per test and a line per setup in its shaded 95 % interval.

After Finn et al. (2017), figure 3 (sinusoid, K = 5, 10, 20, up to 10 steps). A setup that never adapts is a horizontal
line. A mean that is not finite, or beyond the bound of a diverged episode, is a cross at the upper edge. A published
value is the setup's mark, open and larger. It stands only beside runs that used the whole budget of the paper.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from maml_bench.report.aggregate import Key, Score, shape_of
from maml_bench.report.figures import Selection, titles_of
from maml_bench.report.formats import scale
from maml_bench.report.statistics import INTERVAL
from maml_bench.report.style import FEW_LINES, FEW_SEEDS, Look, canvas, heading, legend, panel_titles, score_axis

PANELS = 3
MANY_STEPS = 20
"""From this many inner steps on the axis of steps is logarithmic above ``LINEAR`` steps."""
LINEAR = 2
COUNTED = {"omniglot_instances": ("at each instance", "images of the class that were shown before")}
"""What the points of a family count where it is not inner steps: the end of the title, and the name of the axis."""
TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def draw(selection: Selection) -> Figure | None:
    """None unless some setup was tested after more than two numbers of inner steps."""
    selection = selection.together()
    lines: dict[Key, dict[str, list[Score]]] = {}
    for setup, group in selection.groups.items():
        for score in group.scores():
            lines.setdefault(shape_of(score.evaluation), {}).setdefault(setup, []).append(score)
    many = [shape for shape in lines if max(map(len, lines[shape].values())) > 2]
    most = sorted(many, key=lambda shape: len(lines[shape]), reverse=True)[:PANELS]
    shapes = sorted(most, key=lambda shape: shape[2:])
    if not shapes:
        return None
    figure, panels = canvas(1, len(shapes), 2.3, sharey=True)
    banded = max(len(lines[shape]) for shape in shapes) <= FEW_LINES
    tests = [next(iter(lines[shape].values()))[0].evaluation for shape in shapes]
    drawn = [_Panel(axes, selection, banded).draw(lines[shape]) for axes, shape in zip(panels, shapes, strict=True)]
    panel_titles(panels, titles_of(tests))
    score_axis(panels[0], selection.metric, [value for panel in drawn for value in panel.seen])
    panels[0].set_ylabel(f"test {panels[0].get_ylabel()}")
    cut = _leave_out_wide_bands(panels[0], [value for panel in drawn for value in panel.seen + panel.seeds])
    legend(figure, *panels, ordered=True)
    left = len(many) - len(shapes)
    heading(
        figure,
        selection.title(f"test score {_counted(selection)[0]}"),
        f"Bands are a {INTERVAL}." if banded else "",
        "Bands that reach beyond the axis are cut off." if cut else "",
        "Thin lines are the seeds." if any(panel.thin for panel in drawn) else "",
        "Open marks are published values." if any(panel.open for panel in drawn) else "",
        "Crosses are diverged." if any(panel.crosses for panel in drawn) else "",
        f"Tests that fewer setups have are not shown: {left}." if left else "",
        selection.rule(),
    )
    return figure


def _counted(selection: Selection) -> tuple[str, str]:
    return COUNTED.get(selection.one.first.recipe["tasks"]["name"], ("after inner steps", "inner steps"))


def _leave_out_wide_bands(axes: Axes, values: Sequence[float]) -> bool:
    """Give a linear axis the range of ``values`` where bands would make it more than twice as long; tell whether.

    The interval of three seeds of which one failed is several times as wide as the distance between them.
    """
    if not values:  # every seed has diverged
        return False
    low, high = axes.get_ylim()
    span = max(values) - min(values)
    if axes.get_yscale() != "linear" or high - low <= 2 * span or not span:
        return False
    axes.set_ylim(min(values) - 0.08 * span, max(values) + 0.08 * span)
    return True


class _Panel:
    """One test. It remembers which scores (``seen``) and seeds it shows and of which kinds, for the axis and the
    caption."""

    def __init__(self, axes: Axes, selection: Selection, banded: bool) -> None:
        self.axes, self.selection, self.banded = axes, selection, banded
        self.times = scale(selection.metric.name)
        self.seen: list[float] = []
        self.seeds: list[float] = []
        self.thin = self.open = False
        self.crosses = 0

    def draw(self, lines: dict[str, list[Score]]) -> "_Panel":
        for setup, scores in lines.items():
            self._setup(setup, scores)
        longest = max(score.inner_steps for scores in lines.values() for score in scores)
        self.axes.set_xlabel(_counted(self.selection)[1])
        if longest >= MANY_STEPS:
            self.axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.6)
            self.axes.set_xlim(-0.3, 1.3 * longest)
            self.axes.xaxis.set_minor_locator(NullLocator())
            self.axes.set_xticks([tick for tick in TICKS if tick <= longest], minor=False)
            self.axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        else:
            self.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
        return self

    def _setup(self, setup: str, scores: list[Score]) -> None:
        selection, axes, times = self.selection, self.axes, self.times
        look, metric = selection.looks[setup], selection.metric
        bound = math.inf if metric.diverged_above is None else metric.diverged_above
        good = [score for score in scores if score.mean <= bound]
        lost = [score.inner_steps for score in scores if score not in good]
        self.seen += [score.mean * times for score in good]
        if len(scores) == 1 and good and not good[0].inner_steps:
            axes.axhline(good[0].mean * times, label=selection.label(setup), **look.level())
        else:
            self._line(good, look, selection.label(setup))
        given = {score.inner_steps: score.published["value"] * times for score in scores if score.published}
        if given and selection.published(setup):
            axes.plot(list(given), list(given.values()), **look.hollow())
            self.open = True
            self.seen += given.values()
        if lost:  # the crosses of each setup have a height of their own
            edge, height = axes.get_xaxis_transform(), 0.98 - 0.06 * self.crosses
            axes.plot(lost, [height] * len(lost), "x", color=look.color, markersize=5, transform=edge)
            self.crosses += 1

    def _line(self, scores: Sequence[Score], look: Look, label: str) -> None:
        x = [score.inner_steps for score in scores]
        self.axes.plot(x, [score.mean * self.times for score in scores], label=label, **look.line())
        if self.banded:
            low, high = ([(score.mean + sign * score.ci95) * self.times for score in scores] for sign in (-1, 1))
            self.axes.fill_between(x, low, high, color=look.color, alpha=0.15, linewidth=0)
        few = bool(scores) and 1 < len(scores[0].values) <= FEW_SEEDS
        self.thin |= few
        for values in zip(*(score.values for score in scores), strict=True) if few else ():
            means = [float(np.nanmean(seed)) * self.times for seed in values]
            self.seeds += means
            self.axes.plot(x, means, **look.thin())
