"""Files of the tables of speed: races as ``speed``, growth as ``growth``, and the headline for a README."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd

from maml_bench.files import atomic_write
from maml_bench.report.speed.rows import Growth, Race, curves, flat, races
from maml_bench.report.speed.tables import Races, absent, block, ends, growth, headline, surroundings
from maml_bench.report.writing import MARK, SPEED_SUMMARY, escape, pipes

QUANTITIES = ("median ms", "peak MiB")
_Row = TypeVar("_Row", Race, Growth)
_HEADLINE = (
    "Median of one meta-step (loaders: episodes per second; rollouts and training: a step of 800 environments). The "
    "ratio is the peer's time over ours, in brackets its range over the rounds: above 1, maml-bench is faster. As its "
    "users run it: with the memory setting of a plain process; equal memory: with that of `maml-bench run`. Peers "
    "whose gradient differs from ours do not count."
)
_RACES = (
    "Every library computes the same meta-gradient of the same network on the same episodes, or loads episodes of one "
    "shape from the same images, in a process of its own, turn by turn; `loop` is the plain loop over tasks of our own "
    "core, a yardstick and no peer. Peak memory lies above what the imports took; gradient error is relative to the "
    "reference; machine share is the step's arithmetic over its time, as a share of the machine's convolution rate, "
    "without which seconds of different machines cannot be compared."
)
_GROWTH = (
    "One axis grows while all else stays at the base point; each point is a process of its own. Peak memory lies above "
    "what the imports took."
)


def write_speed_tables(rows: Sequence[Race | Growth], folder: Path) -> list[Path]:
    """Write the tables that ``rows`` give into ``folder`` and return their paths; none for no rows.

    ``speed.md`` and ``speed.tex`` hold a block per race, ``speed.csv`` all rows as unrounded numbers, and
    ``speed-summary.md`` the headline; ``growth.*`` hold the curves.
    """
    files: dict[str, str] = {}
    found, points = races(rows), curves(rows)
    if found:
        files["speed.md"] = f"<!-- {MARK} -->\n{_races_markdown(found)}"
        files["speed.csv"] = _csv([row for rows_ in found.values() for row in rows_])
        files["speed.tex"] = f"% {MARK}\n{_races_latex(found)}"
        files[SPEED_SUMMARY] = f"<!-- {MARK} -->\n{pipes(headline(found))}\n\n{_HEADLINE}\n\n{_machines(found)}\n"
    if points:
        files["growth.md"] = f"<!-- {MARK} -->\n{_growth_markdown(points)}"
        files["growth.csv"] = _csv([point for lines in points.values() for line in lines.values() for point in line])
        files["growth.tex"] = f"% {MARK}\n{_growth_latex(points)}"
    for name, content in files.items():
        atomic_write(folder / name, content)
    return [folder / name for name in files]


def _csv(rows: Sequence[Race] | Sequence[Growth]) -> str:
    frame = pd.DataFrame([flat(row) for row in rows])
    frame = frame.map(lambda cell: " ".join(map(str, cell)) if isinstance(cell, tuple) else cell)
    return f"# {MARK}\n" + frame.to_csv(index=False, lineterminator="\n")


def _machines(found: Races) -> str:
    """A line per machine that raced."""
    machines = dict.fromkeys(machine for _, machine in found)
    return "\n".join(
        surroundings([row for (_, other), rows in found.items() if other == machine for row in rows])
        for machine in machines
    )


def _races_markdown(found: Races) -> str:
    parts = ["# Speed", _RACES, pipes(headline(found)), _HEADLINE]
    for (bench, machine), rows in found.items():
        out = absent(rows)
        parts += [f"## {bench} ({machine})" if _twice(found, bench) else f"## {bench}", pipes(block(rows))]
        parts += ["\n".join(["Did not race:", "", *(f"- {line}" for line in out)])] if out else []
        parts.append(surroundings(rows))
    return "\n\n".join(parts) + "\n"


def _twice(found: Races, bench: str) -> bool:
    return sum(other == bench for other, _ in found) > 1


def _races_latex(found: Races) -> str:
    tables = [_table(headline(found), "Speed: maml-bench and the fastest peer.", "speed")]
    for (bench, machine), rows in found.items():
        tables.append(_table(block(rows), f"{bench}. {surroundings(rows)}", f"speed-{bench}-{machine}"))
    return "\n".join(tables)


def _growth_markdown(points: dict[tuple[str, str], dict[str, list[Growth]]]) -> str:
    parts = ["# How the cost of a step grows", _GROWTH]
    for (machine, axis), lines in points.items():
        parts.append(f"## {axis} ({machine})")
        for quantity in QUANTITIES:
            parts += [f"{quantity}:", pipes(growth(lines, quantity))]
        out = ends(lines)
        parts += ["\n".join(["Where a curve ends:", "", *(f"- {line}" for line in out)])] if out else []
        parts.append(surroundings([point for line in lines.values() for point in line]))
    return "\n\n".join(parts) + "\n"


def _growth_latex(points: dict[tuple[str, str], dict[str, list[Growth]]]) -> str:
    return "\n".join(
        _table(growth(lines, quantity), f"Growth with {axis}: {quantity}.", f"growth-{axis}-{machine}-{quantity[:4]}")
        for (machine, axis), lines in points.items()
        for quantity in QUANTITIES
    )


def _table(frame: pd.DataFrame, caption: str, label: str) -> str:
    return str(frame.to_latex(index=False, escape=True, caption=escape(caption), label=f"tab:{label}"))
