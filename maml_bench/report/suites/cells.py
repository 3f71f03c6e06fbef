"""Which records belong to a suite, and which of them fill which cell of its table.

Several groups of records (`aggregate.aggregate`) may fit one cell. The table then shows one of them (see `merit`), and
the CSV file holds them all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from maml_bench.record import Record
from maml_bench.report.aggregate import PRESETS, Group, Score, aggregate, shape_of, unusual
from maml_bench.report.flat_rows import normalisation
from maml_bench.suites import Cell, Suite


@dataclass(frozen=True)
class Row:
    """What identifies a row of a suite's table. The cells of a row differ only in their problem and their budget."""

    setup: str
    preset: str
    ranked: bool
    protocol: str
    normalisation: str
    machine: str
    device: str

    @property
    def texts(self) -> tuple[str, str, str, str, str]:
        preset = self.preset + ("" if self.ranked else ", unranked")
        return self.setup, preset, self.protocol, self.normalisation, f"{self.machine} {self.device}"


@dataclass(frozen=True)
class Place:
    """A group of records in a cell; ``setup`` carries what the recipe adds to the cell's: ``maml (text)``."""

    cell: Cell
    setup: str
    group: Group


def of_suite(suite: Suite, records: Iterable[Record]) -> list[Record]:
    """The training runs of the suite's recipes and of their variants, without those whose settings were changed."""
    return [
        record
        for record in records
        if record.kind == "run" and not record.recipe.get("changed") and cell_of(suite, record.recipe["id"])
    ]


def cell_of(suite: Suite, recipe: str) -> tuple[Cell, str] | None:
    """The cell of a recipe and what its id adds: ``omniglot-5w1s-text`` is variant ``text`` of ``omniglot-5w1s``."""
    for cell in suite.cells:
        if recipe == cell.recipe or recipe.startswith(f"{cell.recipe}-"):
            return cell, recipe.removeprefix(cell.recipe).removeprefix("-")
    return None


def places(suite: Suite, records: Iterable[Record]) -> list[Place]:
    """All groups of the suite's records, sorted by cell and setup."""
    found = []
    for group in aggregate(of_suite(suite, records)):
        cell, variant = cell_of(suite, group.first.recipe["id"]) or (suite.cells[0], "")
        found.append(Place(cell, f"{group.setup} ({variant})" if variant else group.setup, group))
    return sorted(found, key=lambda place: (suite.cells.index(place.cell), place.setup))


def table(suite: Suite, records: Iterable[Record]) -> dict[Row, dict[Cell, tuple[Place, Score]]]:
    """The suite's table: rows in the order of preset, setup and protocol, in each row the cells that have a score."""
    rows: dict[Row, dict[Cell, tuple[Place, Score]]] = {}
    for place in sorted(places(suite, records), key=lambda place: merit(place.group)):
        for score in sorted(headlines(place.group), key=lambda score: score.published is not None):
            row = _row(place, score)
            rows.setdefault(row, {})[place.cell] = place, score
    order = sorted(rows, key=lambda r: (rank(r.preset), r.setup, r.protocol != "paper", *r.texts))
    return {row: rows[row] for row in order}


def headlines(group: Group) -> list[Score]:
    """One score per test: after the inner steps that have a published value, else after those of validation, else
    last."""
    tests: dict[object, list[Score]] = {}
    for score in group.scores():
        tests.setdefault(shape_of(score.evaluation), []).append(score)
    return [
        max(scores, key=lambda s: (s.published is not None, s.inner_steps == group.own_steps, s.inner_steps))
        for scores in tests.values()
    ]


def merit(group: Group) -> tuple[bool, float, int, str]:
    """Sort key of groups, largest is best: ended well, most of its budget used, most seeds, latest run."""
    latest = max(record.started_at for record in group.records)
    return group.first.status == "ok", group.first.budget_share, len(group.seeds), latest


def rank(preset: str) -> int:
    """The place of a preset in reading order, the largest budgets first."""
    return PRESETS.index(preset) if preset in PRESETS else len(PRESETS)


def partial(group: Group) -> str:
    """How much of the budget was used, such as ``17 %``; empty where all of it was."""
    used = group.first.budget_share
    return "" if used >= 1 else f"{100 * used:.2g} %"


def _row(place: Place, score: Score) -> Row:
    group, evaluation = place.group, score.evaluation
    words = [word for word in unusual(**vars(evaluation)) if word != evaluation.normalisation]
    words += [evaluation.checkpoint] if evaluation.checkpoint not in ("last", "ensemble") else []
    return Row(
        place.setup, group.preset, group.ranked, ", ".join(words) or "paper",
        normalisation(group.first, evaluation) or "none", group.first.machines, group.first.device,
    )  # fmt: skip
