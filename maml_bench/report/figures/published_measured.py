"""Measured test accuracy against the published one, a panel per problem of a suite, both with their 95 % intervals.

A point on the diagonal equals the published value. The variants of a setup (the paper's text instead of its code, other
networks) share its look.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maml_bench.report.aggregate import Score
from maml_bench.report.figures import RULE, View
from maml_bench.report.formats import scale, unit
from maml_bench.report.statistics import INTERVAL
from maml_bench.report.style import Look, canvas, heading, legend
from maml_bench.report.suite_tables import Place
from maml_bench.suites import Cell

COLUMNS = 3
Point = tuple[Place, Score]


def draw_suite(view: View) -> dict[str, Figure]:
    """One figure of all problems that have a published value; no figure if there are none, or if the budgets of the
    preset are too small to rank setups."""
    cells: dict[Cell, list[Point]] = {}
    for cell, found in view.cells().items():
        points: dict[tuple[str, ...], Point] = {}  # of the groups of a setup the last and best one stays
        for place in (place for place in found if place.group.ranked):
            for score in place.group.headlines():
                if score.published:
                    test = score.evaluation
                    points[place.setup, test.protocol, test.normalisation, test.checkpoint] = place, score
        if points:
            cells[cell] = [points[key] for key in sorted(points)]
    if not cells:
        return {}
    columns = min(COLUMNS, len(cells))
    figure, panels = canvas(-(-len(cells) // columns), columns, 2.1)
    for axes, (cell, mine) in zip(panels, cells.items(), strict=False):
        for place, score in mine:
            _point(axes, place, score, view.looks[place.group.setup])
        _frame(axes, cell, mine[0][0].group.first.metric.name)
    for axes in panels[len(cells) :]:
        axes.set_visible(False)
    legend(figure, *panels[: len(cells)], ordered=True)
    partial = any(place.group.part < 1 for mine in cells.values() for place, _ in mine)
    heading(
        figure,
        f"published and measured, {view.preset} preset",
        f"Bars are a {INTERVAL}; the horizontal ones are published.",
        "An open mark is before the end of the budget." if partial else "",
        "A word beside a mark names the variant of the recipe.",
        RULE,
    )
    return {"": figure}


def _point(axes: Axes, place: Place, score: Score, look: Look) -> None:
    reference, times = score.published or {}, scale(place.group.first.metric.name)
    across = reference.get("ci95")
    axes.errorbar(
        reference["value"] * times,
        score.mean * times,
        xerr=None if across is None else across * times,
        yerr=score.ci95 * times,
        **look.point(),
        elinewidth=0.8,
        capsize=1.5,
        label=place.group.setup,
        markerfacecolor=look.color if place.group.part >= 1 else "white",
    )
    variant = place.setup.removeprefix(place.group.setup).strip(" ()")
    at = reference["value"] * times, score.mean * times
    axes.annotate(variant, at, (-5, 4), textcoords="offset points", ha="right", fontsize=7)


def _frame(axes: Axes, cell: Cell, metric: str) -> None:
    """Equal axes that hold all points, and the diagonal."""
    ends = [*axes.get_xlim(), *axes.get_ylim()]
    gap = 0.04 * (max(ends) - min(ends))  # an axis whose values are close leaves little of its own
    low, high = min(ends) - gap, max(ends) + gap
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.set_title(cell.column)
    axes.set_xlabel(f"published {unit(metric)}")
    axes.set_ylabel(f"measured {unit(metric)}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
