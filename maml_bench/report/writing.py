"""The tables of every task family as files below ``<results>/tables``, and the short ones inside a document."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import atomic_write, read_bytes
from maml_bench.record import Record
from maml_bench.report.aggregate import aggregate
from maml_bench.report.flat_rows import searches_in_words
from maml_bench.report.formats import bullets, csv, latex, markdown, paragraphs, write
from maml_bench.report.tables import COLUMNS, PAPER_COLUMNS, bold_best, caption, numbers, summary

BEGIN, END = "<!-- tables:begin -->", "<!-- tables:end -->"
SPEED_BEGIN, SPEED_END = "<!-- speed:begin -->", "<!-- speed:end -->"
SPEED_SUMMARY = "speed-summary.md"

LEGEND = (
    "± is a 95 % confidence interval. The column `± over` says what it is over: the seeds, where there are at least "
    "three, otherwise the test tasks of one model, which says nothing about how much seeds differ. `seeds` lists the "
    "seeds and their means, or the lowest and the highest of three or more. `steps` are inner steps. `budget` is the "
    "number of meta-steps done, of those of the recipe. `changed:` lists changed settings. `verdict` compares the "
    "intervals of a whole run with the published ones. Shot and query count examples per class, or rollouts in "
    "reinforcement learning."
)


@dataclass(frozen=True)
class Selection:
    """What the tables show: these setups and, of the columns of Markdown and LaTeX, these in this order. Nothing chosen
    means all setups, and the usual columns."""

    setups: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.setups or self.columns)

    def of(self, records: Sequence[Record]) -> list[Record]:
        """The records of these setups.

        Raises:
            MamlBenchError: there is no such column, or no record of a setup.
        """
        known = {record.recipe["setup"]["name"] for record in records}
        for word, chosen, names in (("setup", self.setups, known), ("column", self.columns, COLUMNS)):
            for name in chosen:
                if name not in names:
                    where = "no table has a column" if word == "column" else "there is no record of setup"
                    raise MamlBenchError(f"{where} {name!r}{nearest(name, names)}")
        return [record for record in records if not self.setups or record.recipe["setup"]["name"] in self.setups]

    def cut(self, frame: pd.DataFrame, usual: Sequence[str] = COLUMNS) -> pd.DataFrame:
        """The chosen columns of a `tables.summary`, or the ``usual`` ones."""
        return frame[list(self.columns or usual)]


ALL = Selection()


def write_tables(
    records: Iterable[Record], folder: Path, *, tex: bool = False, selection: Selection = ALL
) -> list[Path]:
    """Write the tables of every task family into ``folder`` and return their paths.

    ``<tasks>.md`` shows every group of records, ``<tasks>-summary.md`` leaves out budgets that are too small to rank
    setups by (`tables.summary`), and ``<tasks>.csv`` has every test point and its cost, unrounded. With ``tex``,
    ``<tasks>.tex`` is the summary for a paper. A CSV has all columns in any case.

    Raises:
        MamlBenchError: as `Selection.of`.
    """
    families: dict[str, list[Record]] = {}
    for record in selection.of(list(records)):
        families.setdefault(record.recipe["tasks"]["name"], []).append(record)
    written = []
    for tasks, family in sorted(families.items()):
        files = {f"{tasks}.md": _page(tasks, family, selection), f"{tasks}.csv": csv(numbers(family))}
        files[f"{tasks}-summary.md"] = paragraphs([markdown(selection.cut(summary(family))), caption(family)])
        if tex:
            files[f"{tasks}.tex"] = _latex(tasks, family, selection)
        written += write(folder, files)
    return written


def include(results: Path, document: Path) -> None:
    """Put the summary tables below ``results`` between the marks ``BEGIN`` and ``END`` of a Markdown ``document``.

    Where the first mark names tables (``<!-- tables:begin reproduction mdp -->``), only these, in that order; otherwise
    those of all task families. The summary of speed goes between marks of its own, ``SPEED_BEGIN`` and ``SPEED_END``,
    where the document has them.

    Raises:
        MamlBenchError: the document cannot be read or lacks the marks.
    """
    try:
        content = read_bytes(document).decode()
    except OSError as error:
        raise MamlBenchError(f"{document} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MamlBenchError(f"{document} cannot be read: it is not text in UTF-8") from error
    begin, scores = wanted(content, results / "tables")
    filled = _between(content, begin, END, scores)
    if filled is None:
        raise MamlBenchError(f"{document} has no lines {BEGIN} and {END} to put the tables between")
    speed = results / "tables" / SPEED_SUMMARY
    also = _between(filled, SPEED_BEGIN, SPEED_END, [speed] if speed.is_file() else [])
    atomic_write(document, also or filled)


def wanted(text: str, folder: Path) -> tuple[str, list[Path]]:
    """The opening mark as it stands in ``text``, and the summaries in ``folder`` that it asks for, as far as there are
    such."""
    found = re.search(r"<!-- tables:begin((?: \w+)*) -->", text)
    names = found.group(1).split() if found else []
    apart = (SPEED_SUMMARY, "reproduction-summary.md")
    every = [path for path in sorted(folder.glob("*-summary.md")) if path.name not in apart]
    named = [path for name in names if (path := folder / f"{name}-summary.md").is_file()]
    return (found.group() if found else BEGIN), (named if names else every)


def _between(text: str, begin: str, end: str, tables: Sequence[Path]) -> str | None:
    """``text`` with the tables, without their first lines, between its marks; None where it lacks them."""
    before, opened, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        return None
    contents = [path.read_text(encoding="utf-8").split("\n", 1)[1] for path in tables]
    return before + begin + "\n" + "\n".join(contents) + end + after


def _page(tasks: str, family: list[Record], selection: Selection) -> str:
    groups = aggregate(family)
    failures = [
        f"{group.recipe}, {group.setup}, {group.preset}, seeds {', '.join(map(str, group.seeds))}: "
        + f"{group.first.status}: "
        + ("; ".join(sorted({record.reason for record in group.records if record.reason})) or "no reason given")
        for group in groups
        if group.first.status != "ok"
    ]
    superseded = dict.fromkeys(
        f"{group.recipe}, {group.setup}, {group.preset}, #{group.first.recipe_id}: {group.superseded}"
        for group in groups
        if group.superseded
    )
    counts = {status: sum(record.status == status for record in family) for status in ("diverged", "failed")}
    ended = f"Of {len(family)} runs, {counts['diverged']} diverged and {counts['failed']} failed."
    weights = dict.fromkeys(
        f"weights {record.weights_id}: {file['file']}, SHA-256 {file['sha256']}"
        for record in family
        for file in record.weights
    )
    searches = dict.fromkeys(
        f"{group.recipe}, {group.setup}, {group.preset}, #{group.first.recipe_id}: {told}"
        for group in groups
        for record in group.records
        for told in searches_in_words(record)
    )
    only = [f"Only these setups are shown: {', '.join(selection.setups)}."] if selection.setups else []
    return paragraphs(
        [
            *(
                f"# {tasks}",
                *only,
                LEGEND,
                ended,
                markdown(selection.cut(summary(family, everything=True))),
                caption(family),
            ),
            f"Costs, machines and commits stand in {tasks}.csv.",
            *bullets("Runs that failed or diverged:", failures),
            *bullets("Tuned on validation:", searches),
            *bullets("Superseded:", superseded),
            *bullets("Weights from files:", weights),
        ]
    )


def _latex(tasks: str, family: list[Record], selection: Selection) -> str:
    frame = bold_best(summary(family), aggregate(family))
    over = "over seeds where there are at least three, else over test tasks"
    return latex(selection.cut(frame, PAPER_COLUMNS), f"{tasks}. {caption(family)} Intervals are {over}.", tasks)
