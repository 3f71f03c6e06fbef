"""Which records belong to a suite, and its table: a row per setup, a column per problem."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from maml_bench.record import Record
from maml_bench.report.aggregate import Group, aggregate, rank, unusual
from maml_bench.report.flat_rows import changed
from maml_bench.report.formats import plus_minus
from maml_bench.suites import Cell, Suite

ROW = ["setup", "preset", "test", "machine"]
"""What identifies a row of a suite's table. The cells of a row differ only in their problem and their budget."""


@dataclass(frozen=True)
class Place:
    """A group of records in a cell; ``setup`` carries what the recipe adds to the cell's: ``maml (text)``."""

    cell: Cell
    setup: str
    group: Group


def cell_of(suite: Suite, recipe: str) -> tuple[Cell, str] | None:
    """The cell of a recipe and what its id adds: ``omniglot-5w1s-text`` is variant ``text`` of ``omniglot-5w1s``."""
    for cell in suite.cells:
        if recipe == cell.recipe or recipe.startswith(f"{cell.recipe}-"):
            return cell, recipe.removeprefix(cell.recipe).removeprefix("-")
    return None


def counts(record: Record) -> bool:
    """Whether a record belongs into the table of a suite: a run that is not changed, and that no other takes the
    place of. A search that the recipe's own values won changes nothing."""
    return record.kind == "run" and not changed(record) and not record.superseded


def places(suite: Suite, records: Iterable[Record]) -> list[Place]:
    """All groups of training runs of the suite's recipes and of their variants, sorted by cell and setup.

    Runs of other setups and runs with changed settings do not belong to the suite.
    """
    found = []
    for group in aggregate(record for record in records if counts(record)):
        placed = cell_of(suite, group.recipe)
        if placed and suite.has(group.setup):
            cell, variant = placed
            found.append(Place(cell, f"{group.setup} ({variant})" if variant else group.setup, group))
    return sorted(found, key=lambda place: (suite.cells.index(place.cell), place.setup))


def scores(suite: Suite, records: Iterable[Record]) -> pd.DataFrame:
    """A row per setup, preset, test and machine, a column per cell of the suite.

    A cell such as ``97.4 ± 0.7, 10,000 of 60,000 steps`` holds the score after the inner steps of `Group.headlines`
    with its 95 % interval, and the budget where not all of it was used. Of several groups for one cell it holds that
    with the largest `Group.merit`.
    """
    table: dict[tuple[str, ...], dict[str, str]] = {}
    for place in sorted(places(suite, records), key=lambda place: place.group.merit):
        group = place.group
        for score in group.headlines():
            test = score.evaluation
            words = ", ".join([f"{test.query} query", *unusual(**vars(test))])
            preset = group.preset + ("" if group.ranked else ", unranked")
            cell = plus_minus(score.mean, score.ci95, group.first.metric.name)
            cell += f", {group.budget}" if group.part < 1 else ""
            cell += "" if group.first.status == "ok" else f", {group.first.status}"
            row = (place.setup, preset, words, f"{group.first.machines} {group.first.device}")
            table.setdefault(row, {})[place.cell.column] = cell
    order = sorted(table, key=lambda row: (rank(row[1].split(",")[0]), row))
    columns = [*ROW, *(cell.column for cell in suite.cells)]
    rows = [dict(zip(ROW, row, strict=True)) | table[row] for row in order]
    return pd.DataFrame(rows, columns=columns, dtype=str).fillna("")
