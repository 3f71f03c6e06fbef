"""The tables of a suite: accuracies beside the published values, seconds of training, and runs that failed."""

from collections.abc import Iterable
from statistics import median

import pandas as pd

from maml_bench.record import Record
from maml_bench.report.aggregate import Group, Score
from maml_bench.report.suites.cells import Place, cell_of, merit, of_suite, partial, places, rank, table
from maml_bench.report.tables import NONE, numbers, plus_minus
from maml_bench.suites import Suite


def scores(suite: Suite, records: Iterable[Record], *, published: bool = True) -> pd.DataFrame:
    """A row per setup, preset and protocol, a column per cell: ``97.4 ± 0.7 (98.7 ± 0.4), 17 %``.

    A cell holds the mean with its 95 % interval over test tasks, in brackets the published value (if ``published``),
    and how much of the recipe's budget was used where that is not all. The machine is named where there are several.
    """
    lines = []
    for row, cells in table(suite, records).items():
        words = dict(zip(("setup", "preset", "protocol", "normalisation", "machine"), row.texts, strict=True))
        for cell in suite.cells:
            words[cell.column] = _score(cells[cell][0], cells[cell][1], published) if cell in cells else ""
        lines.append(words)
    frame = pd.DataFrame(lines, dtype=str)
    return frame if len(frame) and frame["machine"].nunique() > 1 else frame.drop(columns="machine", errors="ignore")


def seconds(suite: Suite, records: Iterable[Record]) -> pd.DataFrame:
    """Seconds of training per cell, as medians over the seeds; a row per setup, preset, machine and way of running."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for place in sorted(places(suite, records), key=lambda place: merit(place.group)):
        record = place.group.first
        if not any(each.evaluations for each in place.group.records):
            continue
        words = {
            "setup": place.setup,
            "preset": place.group.preset,
            "machine": f"{record.machines} {record.device}",
            "threads": str(record.threads),
            "schedule": record.schedule,
            "memory": record.memory,
        }
        row = rows.setdefault(tuple(words.values()), words)
        row[place.cell.column] = ", ".join(
            word for word in (f"{median(r.train_s for r in place.group.records):,.0f}", partial(place.group)) if word
        )
    order = sorted(rows, key=lambda key: (rank(rows[key]["preset"]), key))
    columns = ["setup", "preset", "machine", "threads", "schedule", "memory", *(cell.column for cell in suite.cells)]
    return pd.DataFrame([[rows[key].get(name, "") for name in columns] for key in order], columns=columns, dtype=str)


def flat(suite: Suite, records: Iterable[Record]) -> pd.DataFrame:
    """Every group and score of the suite as unrounded numbers (`tables.numbers`), with the cell that it belongs to."""
    frame = numbers(of_suite(suite, records))
    found = [cell_of(suite, recipe) for recipe in frame["recipe"]]
    frame.insert(0, "cell", [place[0].column if place else NONE for place in found])
    frame.insert(5, "recipe_variant", [place[1] if place else "" for place in found])
    frame.insert(list(frame.columns).index("budget_steps") + 1, "budget_share", _shares(frame))
    return frame


def failures(suite: Suite, records: Iterable[Record]) -> list[str]:
    """A sentence for every group that did not end well."""
    return [
        f"{place.cell.column}, {place.setup}, {place.group.preset}: {place.group.first.status}: {_reason(place.group)}"
        for place in places(suite, records)
        if place.group.first.status != "ok"
    ]


def sources(suite: Suite, records: Iterable[Record]) -> list[str]:
    """Where the published values of the table come from."""
    shown = [score.published for cells in table(suite, records).values() for _, score in cells.values()]
    return sorted({reference["source"] for reference in shown if reference})


def _score(place: Place, score: Score, published: bool) -> str:
    metric = place.group.first.metric.name
    words = plus_minus(score.mean, score.ci95, metric)
    if published and score.published:
        words += f" ({plus_minus(score.published['value'], score.published.get('ci95'), metric)})"
    status = "" if place.group.first.status == "ok" else place.group.first.status
    return ", ".join(word for word in (words, partial(place.group), status) if word)


def _shares(frame: pd.DataFrame) -> list[float]:
    return [
        done / whole if whole else 1.0 for done, whole in zip(frame["outer_steps"], frame["budget_steps"], strict=True)
    ]


def _reason(group: Group) -> str:
    return "; ".join(sorted({record.reason for record in group.records if record.reason})) or "no reason given"
