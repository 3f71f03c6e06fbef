"""Validation accuracy against seconds of training, a panel per problem of a suite, a line per setup.

The axis of seconds is logarithmic, so it cannot show the validation before training. All lines of a figure are of one
kind of machine, device, number of threads and memory setting, because other seconds cannot be compared with them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maml_bench.record import Record
from maml_bench.report.aggregate import Group
from maml_bench.report.curves import mean_curve
from maml_bench.report.figures import View
from maml_bench.report.formats import scale
from maml_bench.report.style import Look, canvas, heading, legend, log_ticks, score_axis
from maml_bench.suites import Cell

COLUMNS = 3
Panels = dict[Cell, dict[str, Group]]


def draw_suite(view: View) -> dict[str, Figure]:
    """A figure per machine and way of running, if at least two setups trained on one problem; variants are left out."""
    ways: dict[str, Panels] = {}
    for cell, found in view.cells().items():
        for place in found:
            if place.setup == place.group.setup and np.isfinite(mean_curve(place.group).mean).any():
                ways.setdefault(_way(place.group.first), {}).setdefault(cell, {})[place.setup] = place.group
    drawn = {way: {cell: groups for cell, groups in panels.items() if _worth(groups)} for way, panels in ways.items()}
    return {way: _figure(view, panels) for way, panels in drawn.items() if panels}


def _figure(view: View, cells: Panels) -> Figure:
    columns = min(COLUMNS, len(cells))
    figure, panels = canvas(-(-len(cells) // columns), columns, 1.9)
    partial = False
    for axes, (cell, groups) in zip(panels, cells.items(), strict=False):
        seen: list[float] = []
        for setup, group in sorted(groups.items()):
            seen += _line(axes, group, view.looks[setup], setup)
            partial |= group.part < 1
        axes.set_title(cell.column)
        axes.set_xscale("log")
        axes.set_xlabel("training time (s)")
        log_ticks(axes.xaxis, [value for value in seen if value > 0], dense=30)
        score_axis(axes, next(iter(groups.values())).first.metric, [])
        axes.set_ylabel(f"validation {axes.get_ylabel()}")
    for axes in panels[len(cells) :]:
        axes.set_visible(False)
    legend(figure, *panels[: len(cells)], ordered=True)
    one = next(iter(next(iter(cells.values())).values()))
    record, rank = one.first, "" if one.ranked else " (unranked)"
    threads = f"{record.threads} thread{'s' if record.threads > 1 else ''}"
    where = f"machine {record.machines}, {record.devices}, {threads}, {record.memory} memory"
    heading(
        figure,
        f"accuracy against time, {view.preset} preset{rank}\n{where}",
        "A mark is the end of training; an open one is before the end of the budget."
        if partial
        else "A mark is the end of training.",
        "Runs with changed settings and runs of other machines are not shown.",
        "The score before training is left out, because the axis is logarithmic.",
    )
    return figure


def _line(axes: Axes, group: Group, look: Look, label: str) -> list[float]:
    """Draw a setup, and return the seconds of its points: a horizontal line if it does not train, else its curve with a
    mark at the end."""
    curve, times = mean_curve(group), scale(group.first.metric.name)
    if not group.first.budget_steps:
        axes.axhline(curve.mean[0] * times, label=label, **look.level())
        return []
    later = (curve.seconds > 0) & np.isfinite(curve.mean)
    seconds, level = curve.seconds[later], curve.mean[later] * times
    fill = look.color if group.part >= 1 else "white"
    axes.plot(
        seconds, level, label=label, **look.line(), markevery=[-1] if len(seconds) else None, markerfacecolor=fill
    )
    return [float(second) for second in seconds]


def _worth(groups: dict[str, Group]) -> bool:
    return sum(group.first.budget_steps > 0 for group in groups.values()) > 1


def _way(record: Record) -> str:
    memory = "" if record.memory == "retained" else f"-{record.memory}"
    where = f"{record.machines}-{record.devices}-{record.threads}{memory}"
    return where.replace(":", "").replace(" ", "-")
