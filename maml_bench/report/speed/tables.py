"""The tables of speed: a block per race, the headline of all races, and the cost of a step along each axis of
growth."""

from collections.abc import Iterable, Sequence
from statistics import median

import pandas as pd

from maml_bench.report.speed.rows import OURS, Growth, Race, best_peer, our_row
from maml_bench.report.tables import NONE, three_digits

COLUMNS = (
    *("library", "version", "torch", "memory", "schedule", "median ms", "ratio to ours", "peak MiB"),
    *("gradient error", "machine share"),
)
LOADER_COLUMNS = ("library", "version", "memory", "schedule", "episodes/s", "ratio to ours", "peak MiB")
Races = dict[tuple[str, str], list[Race]]


def block(rows: Sequence[Race]) -> pd.DataFrame:
    """The table of one race, a row per library, memory setting and schedule that was measured.

    A row whose gradient differs is shown with its time and comes last.
    """
    shown = [row for row in rows if row.median_s or row.episodes_per_s]
    columns = LOADER_COLUMNS if rows[0].loads else COLUMNS
    return pd.DataFrame([[_words(row)[column] for column in columns] for row in shown], columns=columns, dtype=str)


def brief(rows: Sequence[Race]) -> pd.DataFrame:
    """One race in short, with all its rows; ``how`` is the schedule, or the reason for which there is no result."""
    result = "episodes/s" if rows[0].loads else "median ms"
    table = [
        {
            "library": row.name,
            "torch": row.torch or NONE,
            "memory": row.memory,
            "how": (row.schedule or NONE) if row.ok else row.status,
            result: _words(row)[result],
            "ratio": _words(row)["ratio to ours"].split(" ")[0],
            "MiB": _words(row)["peak MiB"],
            "error": _words(row)["gradient error"],
        }
        for row in rows
    ]
    return pd.DataFrame(table, dtype=str)


def absent(rows: Sequence[Race]) -> list[str]:
    """A sentence for every library that has no place in the ranking, with the reason."""
    told: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if not row.ok:
            reason = " ".join((row.reason or "no reason given").split())
            told.setdefault((row.name, row.status, reason), []).append(row.memory)
    return [
        f"{name} ({' and '.join(dict.fromkeys(memories))} memory): {status}: {reason}"
        for (name, status, reason), memories in told.items()
    ]


def surroundings(rows: Sequence[Race] | Sequence[Growth]) -> str:
    """Where, when and over how many rounds one machine made these rows, in one line."""
    arithmetic = next((row.model_gflop for row in rows if isinstance(row, Race) and row.model_gflop), None)
    days = sorted({row.started_at[:10] for row in rows if row.started_at})
    parts = [
        setting(rows),
        f"{_number(arithmetic)} GFLOP of arithmetic a step" if arithmetic else "",
        _each((row.rounds for row in rows if row.status == "ok"), "rounds"),
        " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "",
        _each((_commit(row) for row in rows), before="commit "),
    ]
    line = ", ".join(part for part in parts if part)
    return f"{line[0].upper()}{line[1:]}."


def setting(rows: Sequence[Race] | Sequence[Growth]) -> str:
    """The machine of these rows for the title of a figure."""
    rates = [row.machine_gflops for row in rows if row.machine_gflops]
    parts = [
        f"machine {rows[0].machine}",
        _each((row.threads for row in rows), "threads"),
        f"convolutions at {median(rates):,.0f} GFLOP/s" if rates else "",
    ]
    return ", ".join(part for part in parts if part)


def headline(found: Races) -> pd.DataFrame:
    """A row per race: ours as users get it, and the fastest other library as its users run it and with equal memory.

    "As its users run it" means with the memory settings of a plain process, "with equal memory" with ours. The ratio is
    above 1 where ours is faster; its range over the rounds is in brackets.
    """
    table = []
    for (bench, machine), rows in found.items():
        ours = our_row(rows)
        usual, equal = best_peer(rows, "default"), best_peer(rows, ours.memory if ours else "retained")
        table.append(
            {
                "bench": bench,
                "machine": machine,
                OURS: _amount(ours),
                "fastest peer as its users run it": _named(usual),
                "ratio": _ratio(usual),
                "fastest peer with equal memory": _named(equal),
                "ratio, equal memory": _ratio(equal),
            }
        )
    frame = pd.DataFrame(table, dtype=str)
    return frame if frame["machine"].nunique() > 1 else frame.drop(columns="machine")


def growth(lines: dict[str, list[Growth]], quantity: str) -> pd.DataFrame:
    """``quantity`` (``median ms`` or ``peak MiB``) along one axis: a row per value and a column per line.

    A point that was not measured shows its status.
    """
    axis = next(iter(lines.values()))[0].axis
    values = sorted({point.value for points in lines.values() for point in points})
    table = []
    for value in values:
        cells = {axis: f"{value:,}"}
        for line, points in lines.items():
            cells[line] = next((_point(point, quantity) for point in points if point.value == value), NONE)
        table.append(cells)
    return pd.DataFrame(table, dtype=str)


def ends(lines: dict[str, list[Growth]]) -> list[str]:
    """A sentence for every curve that ends early, with the value and the reason."""
    told = []
    for line, points in lines.items():
        end = next((point for point in points if point.status != "ok"), None)
        if end:
            told.append(f"{line}, {end.axis} {end.value:,}: {end.status}: {end.reason or 'no reason given'}")
    return told


def _words(row: Race) -> dict[str, str]:
    share = row.machine_share
    return {
        "library": row.library,
        "version": row.library_version or NONE,
        "torch": row.torch or NONE,
        "memory": row.memory,
        "schedule": row.schedule or NONE,
        "median ms": _number(row.median_s, 1e3),
        "episodes/s": _number(row.episodes_per_s),
        "ratio to ours": _ratio(row),
        "peak MiB": NONE if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**20:,.0f}",
        "gradient error": NONE if row.grad_rel_error is None else f"{row.grad_rel_error:.1e}",
        "machine share": NONE if share is None else f"{100 * share:.0f} %",
    }


def _each(values: Iterable[object], unit: str = "", before: str = "") -> str:
    """The distinct values that are known, with their unit; nothing where none is."""
    known = [str(value) for value in dict.fromkeys(values) if value is not None]
    return f"{before}{' and '.join(known)} {unit}".rstrip() if known else ""


def _commit(row: Race | Growth) -> str | None:
    return row.commit and row.commit[:10] + (" with changes" if row.dirty else "")


def _number(value: float | None, times: float = 1.0) -> str:
    if value is None:
        return NONE
    shown = value * times
    return format(shown, ",.0f" if shown >= 1000 else three_digits(shown))


def _amount(row: Race | None) -> str:
    """The result of a race with its unit."""
    if row is None:
        return NONE
    return f"{_number(row.episodes_per_s)} episodes/s" if row.loads else f"{_number(row.median_s, 1e3)} ms"


def _named(row: Race | None) -> str:
    return NONE if row is None else f"{row.name}: {_amount(row)}"


def _ratio(row: Race | None) -> str:
    if row is None or row.ratio_to_ours is None:
        return NONE
    form = three_digits(row.ratio_to_ours)
    known = row.ratio_low is not None and row.ratio_high is not None
    ends = f" ({row.ratio_low:{form}} to {row.ratio_high:{form}})" if known else ""
    return f"{row.ratio_to_ours:{form}}{ends}"


def _point(point: Growth, quantity: str) -> str:
    if point.status != "ok":
        return point.status
    if quantity == "median ms":
        return _number(point.median_s, 1e3)
    return f"{(point.peak_memory_bytes or 0) / 2**20:,.0f}"
