"""Files of the tables of suites: ``<suite>.md``, ``.csv`` and ``.tex`` below ``<results>/tables``."""

from collections.abc import Iterable
from pathlib import Path

from maml_bench.record import Record
from maml_bench.report.formats import bullets, csv, latex, markdown, paragraphs, write
from maml_bench.report.suites.accuracy_per_second import CLAIM, claim, fields, ranking
from maml_bench.report.suites.cells import of_suite, table
from maml_bench.report.suites.tables import failures, flat, scores, seconds, sources
from maml_bench.suites import Suite, suite, suite_names

_SCORES = (
    "Accuracy in percent: mean ± 95 % confidence interval over the test tasks. In brackets: the published value, with "
    "its interval where it has one. A percentage at the end says how much of the recipe's budget was used, where that "
    "is not all. The cells of a row differ only in their problem. Where several groups of records fit one cell, the "
    "table shows the one that ended well, used most of its budget, has the most seeds and is the latest, in this "
    "order; the CSV file has them all. `unranked` marks budgets that are too small to rank setups by. The tables of "
    "the task families list test shapes and query counts."
)
_SECONDS = (
    "Seconds of training (sampling and meta-steps, without validation, tests and compiling), as medians over the "
    "seeds. A percentage says how much of the budget was used, where that is not all. Seconds of different machines or "
    "different numbers of threads cannot be compared."
)
_PER_SECOND = (
    "Validation accuracy after equal training time on one machine. The equal time is the shortest training that used "
    "its whole budget, so every setup had at least as long. `at N s` is the last validation within that time; setups "
    "are ranked by it, and differences within the intervals may be chance. `s to N %` is the training time until the "
    "first validation that reached this accuracy. Nothing is interpolated. Setups without training count as 0 s."
)


def write_suite_tables(records: Iterable[Record], folder: Path) -> list[Path]:
    """Write the tables of every suite that has a record in one of its cells into ``folder``; return their paths."""
    records = list(records)
    written = []
    for name in suite_names():
        one = suite(name)
        mine = of_suite(one, records)
        if table(one, mine):
            files = {f"{name}.md": _page(one, mine), f"{name}.csv": csv(flat(one, mine))}
            written += write(folder, {**files, f"{name}.tex": _latex(name, one, mine)})
    return written


def _page(one: Suite, records: list[Record]) -> str:
    found, published, ratios = fields(one, records), sources(one, records), claim(one, records)
    parts = [f"# {one.title}", _SCORES, markdown(scores(one, records))]
    parts += [f"Published values: {'; '.join(published)}."] if published else []
    parts += [_SECONDS, markdown(seconds(one, records))]
    parts += bullets("Runs that failed or diverged:", failures(one, records))
    parts += ["## Accuracy per second", _PER_SECOND] if found else []
    for field in found:
        parts += [f"### {field.title}", markdown(ranking(field))]
    parts += ["## What second derivatives cost", CLAIM, markdown(ratios)] if len(ratios) else []
    return paragraphs(parts)


def _latex(name: str, one: Suite, records: list[Record]) -> str:
    ratios = claim(one, records)
    caption = f"{one.title}: accuracy in %, mean ± 95 % confidence interval over the test tasks."
    tables = [
        latex(scores(one, records), caption, name),
        latex(seconds(one, records), f"{one.title}: seconds of training.", f"{name}-seconds"),
    ]
    tables += [
        latex(ranking(field), f"Accuracy per second: {field.title}.", f"{name}-accuracy-per-second-{number}")
        for number, field in enumerate(fields(one, records))
    ]
    tables += [latex(ratios, f"Seconds per meta-step. {CLAIM}", f"{name}-second-derivatives")] if len(ratios) else []
    return "\n".join(tables)
