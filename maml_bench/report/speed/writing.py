"""Files of the tables of speed: races as ``speed``, growth as ``growth``, and a short table for a README."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from maml_bench.report.formats import bullets, csv, latex, markdown, paragraphs, write
from maml_bench.report.speed.rows import Growth, Race, curves, flat, races
from maml_bench.report.speed.tables import Races, absent, block, ends, growth, headline, surroundings
from maml_bench.report.writing import SPEED_SUMMARY

QUANTITIES = ("median ms", "peak MiB")
Curves = dict[tuple[str, str], dict[str, list[Growth]]]
_HEADLINE = (
    "Median time of one meta-step. Loaders are measured in episodes per second, rollouts and training by a step of 800 "
    "environments. The ratio is the peer's time over ours, in brackets its range over the rounds: above 1, maml-bench "
    "is faster. `As its users run it` means the memory settings of a plain process, `equal memory` those of "
    "`maml-bench run`. Peers whose gradient differs from ours do not count."
)
_RACES = (
    "Every library computes the same meta-gradient of the same network on the same episodes, or loads episodes of one "
    "shape from the same images. Each runs in a process of its own, and the processes take turns. `loop` is the plain "
    "loop over tasks of our own core; it is shown for comparison and is not a peer. Peak memory is counted above what "
    "the imports took. The gradient error is relative to the reference. The machine share is the step's arithmetic "
    "divided by its time, as a share of the machine's convolution rate; without that rate, seconds of different "
    "machines cannot be compared."
)
_GROWTH = (
    "One quantity grows while all others keep the values of the base point. Each point was measured in a process of "
    "its own. Peak memory is counted above what the imports took."
)


def write_speed_tables(rows: Sequence[Race | Growth], folder: Path) -> list[Path]:
    """Write the tables that ``rows`` give into ``folder`` and return their paths; none for no rows.

    ``speed.md`` and ``speed.tex`` hold a block per race, ``speed.csv`` all rows as unrounded numbers, and
    ``speed-summary.md`` the headline; ``growth.*`` hold the curves.
    """
    files: dict[str, str] = {}
    found, points = races(rows), curves(rows)
    if found:
        files["speed.md"] = _races_page(found)
        files["speed.csv"] = csv(pd.DataFrame([flat(row) for race in found.values() for row in race]))
        files["speed.tex"] = _races_latex(found)
        files[SPEED_SUMMARY] = paragraphs([markdown(headline(found)), _HEADLINE, _machines(found)])
    if points:
        files["growth.md"] = _growth_page(points)
        lines = [line for curve in points.values() for line in curve.values()]
        files["growth.csv"] = csv(pd.DataFrame([flat(point) for line in lines for point in line]))
        files["growth.tex"] = _growth_latex(points)
    return write(folder, files)


def _machines(found: Races) -> str:
    """A line per machine that raced."""
    machines = dict.fromkeys(machine for _, machine in found)
    return "\n".join(
        surroundings([row for (_, other), rows in found.items() if other == machine for row in rows])
        for machine in machines
    )


def _races_page(found: Races) -> str:
    parts = ["# Speed", _RACES, markdown(headline(found)), _HEADLINE]
    benches = [bench for bench, _ in found]
    for (bench, machine), rows in found.items():
        parts.append(f"## {bench} ({machine})" if benches.count(bench) > 1 else f"## {bench}")
        parts += [markdown(block(rows)), *bullets("Did not race:", absent(rows)), surroundings(rows)]
    return paragraphs(parts)


def _races_latex(found: Races) -> str:
    tables = [latex(headline(found), "Speed: maml-bench and the fastest peer.", "speed")]
    for (bench, machine), rows in found.items():
        tables.append(latex(block(rows), f"{bench}. {surroundings(rows)}", f"speed-{bench}-{machine}"))
    return "\n".join(tables)


def _growth_page(points: Curves) -> str:
    parts = ["# How the cost of a step grows", _GROWTH]
    for (machine, axis), lines in points.items():
        parts.append(f"## {axis} ({machine})")
        for quantity in QUANTITIES:
            parts += [f"{quantity}:", markdown(growth(lines, quantity))]
        parts += bullets("Where a curve ends:", ends(lines))
        parts.append(surroundings([point for line in lines.values() for point in line]))
    return paragraphs(parts)


def _growth_latex(points: Curves) -> str:
    return "\n".join(
        latex(growth(lines, quantity), f"Growth with {axis}: {quantity}.", f"growth-{axis}-{machine}-{quantity[:4]}")
        for (machine, axis), lines in points.items()
        for quantity in QUANTITIES
    )
