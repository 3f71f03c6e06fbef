"""The tables of every task family as files below ``<results>/tables``, and the short ones inside a document."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_write
from maml_bench.record import Record
from maml_bench.report.formats import bullets, csv, latex, markdown, paragraphs, write
from maml_bench.report.tables import COST_COLUMNS, SCORE_COLUMNS, caption, numbers, summary, text, unit

BEGIN, END = "<!-- tables:begin -->", "<!-- tables:end -->"
SPEED_BEGIN, SPEED_END = "<!-- speed:begin -->", "<!-- speed:end -->"
SPEED_SUMMARY = "speed-summary.md"

_SCORES = (
    "± is a 95 % confidence interval over the test tasks: 1.96 standard errors. With several seeds, the score of each "
    "task is first averaged over the seeds, so the interval does not show how much seeds differ. `spread` does: it is "
    "the standard deviation of the seeds' means. `meets` compares our interval with the published one: they overlap, "
    "or a value published without interval lies within ours, or the column says on which side of it we are. Shot and "
    "query count examples per class, or rollouts in reinforcement learning."
)
_COSTS = (
    "What the runs cost, as medians over the seeds. Seconds are training only. GFLOP/s is the measured convolution "
    "rate of the machine; without it, seconds of different machines cannot be compared."
)
_NOTES = {
    "support": "Normalisation `support`: the query is normalised by the statistics of the support; `transductive`: by "
    "its own.",
    "one by one": "Normalisation `one by one`: each query is normalised by the statistics of the support and itself.",
    "running": "Normalisation `running`: everything is normalised by fixed statistics, which are means over training "
    "tasks.",
    "selected": "Checkpoint `selected`: the best by validation, made at the outer step that is named.",
    "ensemble": "Checkpoint `ensemble`: the averaged outputs of the best checkpoints by validation.",
    "given": "Checkpoint `given`: weights from a file, named below; nothing was trained for this row.",
}


def write_tables(records: Iterable[Record], folder: Path) -> list[Path]:
    """Write the tables of every task family into ``folder`` and return their paths.

    ``<tasks>.md`` and ``<tasks>.tex`` hold the scores and, in a second table, their cost; ``<tasks>.csv`` holds both
    as unrounded numbers (scores as the metric gives them); ``<tasks>-summary.md`` is short enough for a README.
    """
    families: dict[str, list[Record]] = {}
    for record in records:
        families.setdefault(record.recipe["tasks"]["name"], []).append(record)
    written = []
    for tasks, family in sorted(families.items()):
        frame = numbers(family)
        files = {
            f"{tasks}.md": _page(tasks, family, frame),
            f"{tasks}.csv": csv(frame),
            f"{tasks}.tex": _latex(tasks, frame),
            f"{tasks}-summary.md": _short(family, frame),
        }
        written += write(folder, files)
    return written


def include(results: Path, document: Path) -> None:
    """Put the summary tables below ``results`` between the marks ``BEGIN`` and ``END`` of a Markdown ``document``.

    Where the first mark names task families (``<!-- tables:begin navigation mdp -->``), only theirs, in that order. The
    summary of speed goes between marks of its own, ``SPEED_BEGIN`` and ``SPEED_END``, where the document has them.

    Raises:
        MamlBenchError: the document cannot be read or lacks the marks.
    """
    try:
        content = document.read_text(encoding="utf-8")
    except OSError as error:
        raise MamlBenchError(f"{document} cannot be read: {error.strerror}") from error
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
    every = [path for path in sorted(folder.glob("*-summary.md")) if path.name != SPEED_SUMMARY]
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


def _blocks(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores, one row per test; and costs, one row per group of records."""
    shown = text(frame)
    costs = shown[list(COST_COLUMNS)].drop_duplicates()
    return shown[list(SCORE_COLUMNS)].rename(columns={"score": unit(frame["metric"].iloc[0])}), costs


def _page(tasks: str, family: list[Record], frame: pd.DataFrame) -> str:
    scores, costs = _blocks(frame)
    failures = [
        f"{row.recipe}, {row.setup}, {row.preset}, seeds {row.seeds}: {row.status}: {row.reason}"
        for row in frame.dropna(subset="reason").drop_duplicates(subset=["recipe_id", "setup", "seeds"]).itertuples()
    ]
    weights = dict.fromkeys(
        f"weights {record.weights_id}: {file['file']}, SHA-256 {file['sha256']}"
        for record in family
        for file in record.weights
    )
    shown = {*frame["statistics"].dropna(), *frame["checkpoint"].dropna()}
    return paragraphs(
        [
            *(f"# {tasks}", _SCORES, " ".join(note for name, note in _NOTES.items() if name in shown)),
            *(markdown(scores), _COSTS, markdown(costs)),
            *bullets("Runs that failed or diverged:", failures),
            *bullets("Weights from files:", weights),
        ]
    )


def _short(records: list[Record], frame: pd.DataFrame) -> str:
    """The summary and its caption: of budgets that rank setups, where there are such."""
    ranked = frame[frame["ranked"]]
    if len(ranked):
        records, frame = [r for r in records if r.recipe["ranked"]], ranked
    return paragraphs([markdown(summary(records)), caption(frame)])


def _latex(tasks: str, frame: pd.DataFrame) -> str:
    scores, costs = _blocks(frame)
    return "\n".join(
        [
            latex(scores, f"{tasks}: scores. ± is a 95 % confidence interval over the test tasks.", f"{tasks}-scores"),
            latex(costs, f"{tasks}: what the runs cost.", f"{tasks}-costs"),
        ]
    )
