"""How many times longer other libraries take than ours: a panel per bench, a bar per library and memory setting."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from maml_bench.report.formats import three_digits
from maml_bench.report.speed.rows import LOOP, Race, races
from maml_bench.report.speed.tables import setting
from maml_bench.report.style import MEMORY_COLOURS, canvas, heading, legend, log_ticks

COLUMNS = 3
CAPTION = (
    "A bar is how many times longer a library took than maml-bench in the same rounds. A library without a bar was not "
    "raced on that problem."
)
_LABELS = {"default": "memory of a plain process (default)", "retained": "memory retained"}


def draw_speed(rows: Sequence[Race]) -> Figure | None:
    """None unless some library other than ours finished a race of meta-steps."""
    steps = [row for row in rows if not row.loads]
    return draw_ratios(steps, "time of a meta-step over that of maml-bench")


def draw_ratios(rows: Sequence[Race], what: str) -> Figure | None:
    """Bars of ``ratio_to_ours`` that start at 1, with whiskers over the rounds. A library that did not race has its
    status in grey. A row that has a time and no ratio computes something else, and is left out."""
    peers = [row for row in rows if not row.ours and not (row.ok and row.ratio_to_ours is None)]
    shown = [row for row in peers if row.ok and row.ratio_to_ours]
    if not shown:
        return None
    found = races(peers)
    names = _names(peers)
    order = sorted(dict.fromkeys(names.values()), reverse=True)  # the first name on top
    log = max(row.ratio_to_ours or 1 for row in shown) > 10 * min(1, *(row.ratio_to_ours or 1 for row in shown))
    columns = min(COLUMNS, len(found))
    height = 0.45 + 0.25 * len(order)
    figure, panels = canvas(math.ceil(len(found) / columns), columns, height, sharey=True)
    for axes, ((bench, _), entries) in zip(panels, found.items(), strict=False):
        raced = [row for row in entries if row in shown]
        for row in raced:
            _bar(axes, row, order.index(names[id(row)]))
        done = {names[id(row)] for row in raced}
        if raced:
            _ratio_axis(axes, raced, log)
        for name, status in {names[id(row)]: row.status for row in entries if names[id(row)] not in done}.items():
            _note(axes, status, 1, order.index(name), "#777777")
        axes.axvline(1, color="#555555", linewidth=0.9)
        axes.set_title(bench)
        axes.set_yticks(range(len(order)), order, fontsize=7, linespacing=0.9)
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    for axes in panels[len(found) :]:
        axes.remove()
    legend(figure, *panels[: len(found)])
    note = "above 1: maml-bench is faster; whiskers: range over the rounds"
    heading(figure, f"{what}\n{setting(rows)}\n{note}", CAPTION)
    return figure


def _names(rows: Sequence[Race]) -> dict[int, str]:
    """The label of each row, by its id: library and version, with schedule and torch where these differ."""
    names = {id(row): "plain loop (ours)" if row.library == LOOP else row.name for row in rows}
    schedules = _several(rows, names, lambda row: row.schedule)
    names = {id(row): names[id(row)] + (f"\n{row.schedule}" if id(row) in schedules else "") for row in rows}
    versions = _several(rows, names, lambda row: row.torch)
    return {id(row): names[id(row)] + (f", torch {row.torch}" if id(row) in versions else "") for row in rows}


def _several(rows: Sequence[Race], names: dict[int, str], of: Callable[[Race], str | None]) -> set[int]:
    """Ids of the rows whose name stands for several known values of ``of``."""
    values: dict[str, set[str | None]] = {}
    for row in rows:
        values.setdefault(names[id(row)], set()).add(of(row))
    return {id(row) for row in rows if of(row) is not None and len(values[names[id(row)]] - {None}) > 1}


def _bar(axes: Axes, row: Race, place: int) -> None:
    y = place + (0.19 if row.memory == "default" else -0.19)
    ratio = row.ratio_to_ours or math.nan
    low, high = (ratio if end is None else end for end in (row.ratio_low, row.ratio_high))
    axes.barh(
        y,
        ratio - 1,
        0.36,
        left=1,
        color=MEMORY_COLOURS[row.memory],
        label=_LABELS[row.memory],
        xerr=[[ratio - low], [high - ratio]],
        error_kw={"ecolor": "#333333", "elinewidth": 0.8, "capsize": 1.5},
    )
    _note(axes, format(ratio, three_digits(ratio)), max(high, 1), y)


def _note(axes: Axes, text: str, x: float, y: float, color: str = "#000000") -> None:
    axes.annotate(text, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=7, color=color)


def _ratio_axis(axes: Axes, rows: Sequence[Race], log: bool) -> None:
    """The ratios of one panel, with room for the numbers beside the bars."""
    ends = [end for row in rows for end in (1.0, row.ratio_to_ours, row.ratio_low, row.ratio_high) if end]
    low, high = min(ends), max(ends)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.05, high * (high / low) ** 0.35)
        log_ticks(axes.xaxis, ends, dense=30)
    else:
        axes.set_xlim(0, 1.3 * high)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
