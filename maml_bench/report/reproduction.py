"""The table of a paper: every published number, and ours beside it where there is one."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from maml_bench.record import Metric, Record
from maml_bench.report.aggregate import Group, Score, aggregate
from maml_bench.report.flat_rows import answers
from maml_bench.report.formats import NONE, bullets, csv, markdown, paragraphs, plus_minus
from maml_bench.report.tables import published_in_words, verdict

NOT_RUN = "not run"
OWN = ("maml", "fomaml")
"""The methods of the MAML paper itself; its other rows are baselines and methods of others."""
LEGEND = (
    "`cell` names the table or figure of the paper (`T1` is Table 1), the recipe, the method and the number of inner "
    "steps, where it takes any. `ours` is the mean ± a 95 % confidence interval: over seeds where there are at least "
    "three, otherwise over the test tasks. `budget` is the number of meta-steps done. `within` means that the two "
    "intervals meet, or that ours holds a value published without an interval. `too wide` means that they meet, but "
    "that our interval reaches further than half of the published value to each side, which says nothing. A run with "
    "changed settings or a part of the budget does not count as a reproduction."
)


@dataclass(frozen=True)
class Cell:
    """A published number of one setup, and a recipe that reproduces it.

    ``published`` is the recipe's entry: the test, the value, its interval and its source. ``recipe_id`` is the hash of
    the recipe as it stands now, so that a run of an earlier content does not count. ``steps`` is its whole budget.
    """

    recipe: str
    recipe_id: str
    setup: str
    steps: int
    metric: Metric
    published: dict[str, Any]

    @property
    def place(self) -> str:
        """Where in the paper the number stands, such as ``Table 2``."""
        return str((re.findall(r"(?:Table|Figure) \d+", self.published["source"]) or [NONE])[-1])

    @property
    def same(self) -> tuple[Any, ...]:
        """What recipes for the same number have in common, such as one by the paper's text and one by its code."""
        p = self.published
        return self.place, self.metric, self.setup, p["way"], p["shot"], p["inner_steps"], p["value"], p["source"]


@dataclass(frozen=True)
class Row:
    """A cell and the runs that are shown beside it, if there are any."""

    cell: Cell
    group: Group | None
    score: Score | None

    @property
    def merit(self) -> tuple[Any, ...]:
        """Sort key, largest is best: runs of the recipe as it stands, then as `Group.merit` says."""
        if self.group is None:
            return (-1,)
        current = self.group.first.recipe_id == self.cell.recipe_id
        return (int(current), *self.group.merit)

    @property
    def verdict(self) -> str:
        if self.group is None or self.score is None:
            return NOT_RUN
        found = verdict(self.group, self.score) or NONE
        if found in ("changed", "partial", "diverged") or self.group.first.recipe_id == self.cell.recipe_id:
            return found
        return "older recipe"


def reproduction(cells: Sequence[Cell], records: Iterable[Record]) -> list[list[Row]]:
    """For each published number all rows that could stand beside it, the one to show first.

    The numbers stand in the order of the paper's tables, then of its figures, and within one of them in the order of
    ``cells``. A row is a recipe for the number and the group of its runs with the largest `Row.merit`. Seeds of all
    machines count together, because the table has no seconds.
    """
    groups = aggregate(records, machines=False)
    groups = [group for group in groups if group.preset == "paper" and group.first.kind == "run"]
    groups = [group for group in groups if not group.superseded]
    found: dict[tuple[Any, ...], list[Row]] = {}
    for cell in sorted(cells, key=lambda cell: (cell.place.startswith("Figure"), cell.place)):
        rows = [
            Row(cell, group, score)
            for group in groups
            if (group.recipe, group.setup) == (cell.recipe, cell.setup)
            for score in group.scores()
            if answers(score.evaluation, score.inner_steps, cell.published) and score.evaluation.split == "test"
        ]
        found.setdefault(cell.same, []).extend(rows or [Row(cell, None, None)])
    return [sorted(rows, key=lambda row: row.merit, reverse=True) for rows in found.values()]


def text(found: Sequence[Sequence[Row]]) -> pd.DataFrame:
    """One line a published number, under 100 columns in Markdown."""
    return pd.DataFrame([_words(rows[0]) for rows in found], dtype=str)


def numbers(found: Sequence[Sequence[Row]]) -> pd.DataFrame:
    """All rows of all published numbers, unrounded; ``shown`` marks those of `text`."""
    return pd.DataFrame([_numbers(row, shown=row is rows[0]) for rows in found for row in rows])


def files(found: Sequence[Sequence[Row]]) -> dict[str, str]:
    """The table as Markdown and CSV, and the rows of the paper's own methods in its tables for a README."""
    own = [rows for rows in found if rows[0].cell.setup in OWN and rows[0].cell.place.startswith("Table")]
    return {
        "reproduction.md": page(found),
        "reproduction.csv": csv(numbers(found)),
        "reproduction-summary.md": paragraphs([markdown(text(own)), LEGEND]),
    }


def page(found: Sequence[Sequence[Row]]) -> str:
    """The whole table, how many of its numbers have been reproduced, and which settings were changed where."""
    shown = [rows[0] for rows in found]
    counts = pd.Series([re.sub(r" by .*| \(.*", "", row.verdict) for row in shown]).value_counts()
    told = ", ".join(f"{count} {words}" for words, count in counts.items())
    changes = dict.fromkeys(
        f"{row.group.recipe}, {row.group.setup}: changed: {row.group.changed}"
        for row in shown
        if row.group and row.group.changed
    )
    return paragraphs(
        [f"Of {len(shown)} published numbers: {told}.", markdown(text(found)), LEGEND, *bullets("Changed:", changes)]
    )


def _words(row: Row) -> dict[str, str]:
    cell, metric = row.cell, row.cell.metric.name
    p = cell.published
    ours, seeds, budget = NONE, NONE, NONE
    if row.group and row.score:
        done, whole = (_short(steps) for steps in (row.group.first.outer_steps, cell.steps))
        ours, seeds = plus_minus(row.score.mean, row.score.ci95, metric), str(len(row.group.seeds))
        budget = NONE if not cell.steps else done if done == whole else f"{done} of {whole}"
    place = f"{cell.place[0]}{cell.place.split(' ')[-1]}"
    steps = f" {p['inner_steps']}" if p["inner_steps"] or metric == "return" else ""  # a policy acts before any step
    return {
        "cell": f"{place} {row.group.recipe if row.group else cell.recipe} {cell.setup}{steps}",
        "published": published_in_words(p, metric),
        "ours": ours,
        "seeds": seeds,
        "budget": budget,
        "verdict": re.sub(r"(by \S+) \(.*", r"\1", row.verdict),  # the number of seeds has a column here
    }


def _short(steps: int) -> str:
    """A number of steps in few letters: ``475``, ``60k``."""
    return f"{steps // 1000}k" if steps >= 10_000 and steps % 1000 == 0 else f"{steps:,}"


def _numbers(row: Row, shown: bool) -> dict[str, Any]:
    cell, p, score = row.cell, row.cell.published, row.score
    record = row.group.first if row.group else None
    return {
        **{"paper": cell.place, "recipe": cell.recipe, "recipe_id": record and record.recipe_id, "setup": cell.setup},
        **{"shown": shown, "way": p["way"], "shot": p["shot"], "inner_steps": p["inner_steps"]},
        **{"metric": cell.metric.name, "published": p["value"], "published_ci95": p.get("ci95")},
        **{"published_note": p.get("note") or None, "source": p["source"]},
        **{"mean": score and score.mean, "ci95": score and score.ci95, "ci95_over": score and score.estimate.over},
        "lowest_seed": min(score.seed_means) if score else None,
        "highest_seed": max(score.seed_means) if score else None,
        **{"seeds": len(row.group.seeds) if row.group else 0, "outer_steps": record.outer_steps if record else None},
        **{"recipe_steps": cell.steps, "changed": (row.group.changed or None) if row.group else None},
        "verdict": row.verdict,
    }
