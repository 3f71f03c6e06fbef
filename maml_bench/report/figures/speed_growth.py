"""How the cost of a step grows: time above peak memory, a column per axis, a line per schedule and library, log-log.

On doubly logarithmic axes a power law is a straight line.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from maml_bench.report.speed.rows import Growth, Race, curves
from maml_bench.report.speed.tables import setting
from maml_bench.report.style import Look, canvas, legend, log_ticks, looks

_NAMES = {"meta_batch": "tasks in a meta-batch", "inner_steps": "inner steps", "shots": "shots", "filters": "filters"}
_MARKS = {"does not fit": "x", "failed": "x", "too slow": "+"}


def draw_speed(rows: Sequence[Race | Growth]) -> Figure | None:
    """None unless some curve has two points. A curve that ends early has a mark at the upper edge of one panel."""
    found = {axis: lines for (_, axis), lines in curves(rows).items()}
    found = {axis: lines for axis, lines in found.items() if max(len(_measured(line)) for line in lines.values()) > 1}
    if not found:
        return None
    look = looks(line for lines in found.values() for line in lines)
    figure, panels = canvas(2, len(found), 1.75, sharex="col", sharey="row")
    times, memories = panels[: len(found)], panels[len(found) :]
    ends: set[str] = set()
    for (axis, lines), upper, lower in zip(found.items(), times, memories, strict=True):
        for line, points in lines.items():
            _line(upper, lower, line, _measured(points), look[line])
        ends |= _marks(upper, lower, lines, look)
        _value_axis(lower, axis, sorted({point.value for points in lines.values() for point in points}))
    points = [point for lines in found.values() for line in lines.values() for point in _measured(line)]
    for axes, label, seen in (
        (times[0], "step (ms)", [1e3 * (point.median_s or 0) for point in points]),
        (memories[0], "peak memory (MiB)", [_mebibytes(point) for point in points]),
    ):
        axes.set_ylabel(label)
        axes.set_yscale("log")
        log_ticks(axes.yaxis, [value for value in seen if value > 0])
    legend(figure, *times)
    told = {"x": "cross: does not fit or failed", "+": "plus: too slow"}
    note = "; ".join(told[mark] for mark in told if mark in ends)
    figure.suptitle("\n".join(part for part in ("cost of a meta-step", setting(points), note) if part))
    return figure


def _measured(points: Sequence[Growth]) -> list[Growth]:
    return [point for point in points if point.status == "ok"]


def _mebibytes(point: Growth) -> float:
    return (point.peak_memory_bytes or 0) / 2**20


def _line(upper: Axes, lower: Axes, name: str, points: Sequence[Growth], look: Look) -> None:
    values = [point.value for point in points]
    upper.plot(values, [1e3 * (point.median_s or 0) for point in points], label=name, **look.line())
    lower.plot(values, [_mebibytes(point) or float("nan") for point in points], **look.line())


def _marks(upper: Axes, lower: Axes, lines: dict[str, list[Growth]], look: dict[str, Look]) -> set[str]:
    """A mark where each curve ends early, above one another where several end at one value; the marks used."""
    taken: dict[tuple[str, int], int] = {}
    for line, points in lines.items():
        end = next((point for point in points if point.status != "ok"), None)
        if end is None:
            continue
        mark = _MARKS[end.status]
        axes, above = upper if mark == "+" else lower, taken.get((mark, end.value), 0)
        taken[mark, end.value] = above + 1
        axes.plot(
            end.value,
            1.02 + 0.08 * above,
            mark,
            color=look[line].color,
            markersize=5.5,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
    return {mark for mark, _ in taken}


def _value_axis(axes: Axes, axis: str, values: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlabel(_NAMES.get(axis, axis))
    axes.xaxis.set_major_locator(FixedLocator(values[:: 2 if len(values) > 6 else 1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
