"""The tables of speed: a block per race, the headline of all races, and the cost of a step along each axis of
growth."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from maml_bench.report.formats import NONE, bullets, csv, markdown, paragraphs, three_digits, write
from maml_bench.report.speed.rows import OURS, Race, best_peer, flat, our_row, races
from maml_bench.report.writing import SPEED_SUMMARY

Races = dict[tuple[str, str], list[Race]]
QUANTITIES = {"median ms": ("median_s", 1e3), "peak MiB": ("peak_memory_bytes", 2.0**-20)}
_HEADLINE = (
    "Median time of one meta-step. Loaders are measured in episodes per second, rollouts and training by a step of 800 "
    "environments. The ratio is the peer's time over ours, in brackets its range over the rounds: above 1, maml-bench "
    "is faster. `As its users run it` means the memory settings of a plain process, `equal memory` those of "
    "`maml-bench run`. Peers whose gradient differs from ours do not count."
)
_RACES = (
    "Every library computes the same meta-gradient of the same network on the same episodes, or loads episodes of one "
    "shape from the same images. Each runs in a process of its own, and the processes take turns. `loop` is the plain "
    "loop over tasks of our own core; it is shown for comparison and is not a peer. A row of our "
    "own core that takes the curvature from another share of the rollouts has no ratio. "
    "Peak memory is counted above what "
    "the imports took. The gradient error is relative to the reference. The machine share is the step's arithmetic "
    "divided by its time, as a share of the machine's convolution rate; without that rate, seconds of different "
    "machines cannot be compared."
)
_GROWTH = (
    "One quantity grows while all others keep the values of the base point. Each point was measured in a process of "
    "its own. Peak memory is counted above what the imports took."
)


def write_speed_tables(rows: Sequence[Race], folder: Path, points: Sequence[dict[str, Any]] = ()) -> list[Path]:
    """Write the tables that ``rows`` give into ``folder`` and return their paths; none for no rows.

    ``speed.md`` holds a block per race, ``speed.csv`` all rows as unrounded numbers, and ``speed-summary.md`` the
    headline; ``growth.md`` and ``growth.csv`` hold the ``points`` of growth.
    """
    files: dict[str, str] = {}
    found = races(rows)
    if found:
        benches = [bench for bench, _ in found]
        parts = ["# Speed", _RACES, markdown(headline(found)), _HEADLINE]
        for (bench, machine), race in found.items():
            parts.append(f"## {bench} ({machine})" if benches.count(bench) > 1 else f"## {bench}")
            parts += [markdown(block(race)), *bullets("Did not race:", absent(race)), surroundings(race)]
        plain = pd.DataFrame([flat(row) for race in found.values() for row in race])
        files["speed.md"] = paragraphs(parts)
        files["speed.csv"] = csv(plain.drop(columns="round_medians_s"))
        machines = dict.fromkeys(machine for _, machine in found)
        told = [surroundings([row for (_, at), race in found.items() if at == one for row in race]) for one in machines]
        files[SPEED_SUMMARY] = paragraphs([markdown(headline(found)), _HEADLINE, "\n".join(told)])
    if points:
        parts = ["# How the cost of a step grows", _GROWTH]
        for title, frame in growth(points):
            parts += [f"## {title}", markdown(frame)]
        ends = [
            f"{p['axis']} {p['value']:,}, {p['schedule'] or p['library']}: {p['status']}: {p['reason']}"
            for p in points
            if p["status"] != "ok"
        ]
        files["growth.md"] = paragraphs([*parts, *bullets("Not measured:", ends)])
        files["growth.csv"] = csv(pd.DataFrame(points))
    return write(folder, files)


def block(rows: Sequence[Race]) -> pd.DataFrame:
    """The table of one race, a row per library, memory setting and schedule; ``schedule`` says why there is no result.

    A row whose gradient differs is shown with its time and comes last. A column without any value is left out.
    """
    frame = pd.DataFrame([_words(row) for row in rows], dtype=str)
    return frame.loc[:, (frame != NONE).any()]


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


def surroundings(rows: Sequence[Race]) -> str:
    """Where, when and over how many rounds one machine made these rows, in one line."""
    arithmetic = next((row.model_gflop for row in rows if row.model_gflop), None)
    days = sorted({row.started_at[:10] for row in rows if row.started_at})
    commits = (row.commit and row.commit[:10] + (" with changes" if row.dirty else "") for row in rows)
    parts = [
        setting(rows),
        f"{_number(arithmetic)} GFLOP of arithmetic a step" if arithmetic else "",
        _each((row.rounds for row in rows if row.ok), "rounds"),
        " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "",
        _each(commits, before="commit "),
    ]
    line = ", ".join(part for part in parts if part)
    return f"{line[0].upper()}{line[1:]}."


def setting(rows: Sequence[Race]) -> str:
    """The machine of these rows for the title of a figure. Each number of threads has its own rate of convolutions."""
    rates: dict[object, list[float]] = {}
    for row in rows:
        if row.machine_gflops:
            rates.setdefault(row.threads, []).append(row.machine_gflops)
    parts = [
        f"machine {rows[0].machine}",
        _each((row.threads for row in rows), "threads"),
        _each((f"{median(found):,.0f}" for found in rates.values()), "GFLOP/s", "convolutions at "),
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


def growth(points: Sequence[dict[str, Any]]) -> Iterator[tuple[str, pd.DataFrame]]:
    """For each machine, axis and quantity its title and a table: a row per value, a column per schedule of ours or
    other library. A point that was not measured shows its status."""
    if not points:
        return
    frame = pd.DataFrame(points).astype({"schedule": object})
    ways = zip(frame["library"], frame["schedule"], strict=True)
    frame["line"] = [way if name == OURS else f"{name} ({way})" if isinstance(way, str) else name for name, way in ways]
    for (machine, axis), rows in frame.groupby(["machine", "axis"], sort=False):
        for quantity, (key, times) in QUANTITIES.items():
            cells = rows.assign(cell=[_number(v, times) for v in rows[key]])
            cells["cell"] = cells["cell"].where(cells["status"] == "ok", cells["status"])
            table = cells.pivot_table(index="value", columns="line", values="cell", aggfunc="first", fill_value=NONE)
            yield f"{axis}, machine {machine}: {quantity}", table.rename_axis(str(axis)).reset_index().astype(str)


def _words(row: Race) -> dict[str, str]:
    share = row.machine_share
    return {
        "library": row.name,
        "torch": row.torch or NONE,
        "memory": row.memory,
        "schedule": row.status if not row.ok else row.schedule or NONE,
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


def _number(value: float | None, times: float = 1.0) -> str:
    if value is None or value != value:
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
