"""Files of the tables of suites: ``<suite>.md``, ``.csv`` and ``.tex`` below ``<results>/tables``."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from maml_bench.files import atomic_write
from maml_bench.record import Record
from maml_bench.report.suites.accuracy_per_second import CLAIM, Field, claim, fields, ranking
from maml_bench.report.suites.cells import of_suite, table
from maml_bench.report.suites.tables import failures, flat, scores, seconds, sources
from maml_bench.report.writing import MARK, escape, pipes
from maml_bench.suites import Suite, suite, suite_names

_SCORES = (
    "Accuracy in percent: mean ± 95 % interval over test tasks; in brackets the published value, with its interval "
    "where it has one; then the share of the recipe's budget where it was not all used. A row's cells differ in their "
    "problem alone; where several groups of records fit one cell, the one with an ok end, the largest share, the most "
    "seeds and the latest run is shown (the CSV file has them all). `unranked`: budgets too small to rank setups by. "
    "Test shapes and query counts stand in the tables of the task families."
)
_SECONDS = (
    "Seconds of training (sampling and meta-steps, without validation, tests and compiling), medians over the seeds, "
    "and the share of the budget where it is not all of it. Seconds of unlike machines or threads cannot be compared."
)
_PACE = (
    "What a second of training buys, by validation accuracy on one machine. `at N s`: the last validation by the equal "
    "time, which is the shortest training that used its whole budget, so that all had as long; setups are ranked by "
    "it, and differences within the intervals are chance. `s to N %`: seconds until the first validation that is not "
    "below that. Nothing is interpolated. Setups without training stand at 0 s."
)


def write_suite_tables(records: Iterable[Record], folder: Path) -> list[Path]:
    """Write the tables of every suite that has a record in one of its cells into ``folder``; return their paths."""
    records = list(records)
    written = []
    for name in suite_names():
        one = suite(name)
        mine = of_suite(one, records)
        if not table(one, mine):
            continue
        files = {
            f"{name}.md": f"<!-- {MARK} -->\n{_markdown(one, mine)}",
            f"{name}.csv": f"# {MARK}\n" + flat(one, mine).to_csv(index=False, lineterminator="\n"),
            f"{name}.tex": f"% {MARK}\n{_latex(name, one, mine)}",
        }
        for file, content in files.items():
            atomic_write(folder / file, content)
            written.append(folder / file)
    return written


def _markdown(one: Suite, records: list[Record]) -> str:
    wrong, ratios = failures(one, records), claim(one, records)
    parts = [f"# {one.title}", _SCORES, pipes(scores(one, records))]
    parts += [f"Published values: {'; '.join(sources(one, records))}."] if sources(one, records) else []
    parts += [_SECONDS, pipes(seconds(one, records))]
    parts += ["\n".join(["Runs that did not end well:", "", *(f"- {line}" for line in wrong)])] if wrong else []
    found = fields(one, records)
    parts += ["## Accuracy per second", _PACE] if found else []
    for field in found:
        parts += [f"### {field.words}", pipes(ranking(field))]
    parts += ["## What second derivatives cost", CLAIM, pipes(ratios)] if len(ratios) else []
    return "\n\n".join(parts) + "\n"


def _latex(name: str, one: Suite, records: list[Record]) -> str:
    ratios = claim(one, records)
    tables = [
        _table(scores(one, records), f"{one.title}: accuracy in %, mean ± 95 % interval over test tasks.", name),
        _table(seconds(one, records), f"{one.title}: seconds of training.", f"{name}-seconds"),
        *(
            _table(ranking(field), _caption(field), f"{name}-accuracy-per-second-{i}")
            for i, field in enumerate(fields(one, records))
        ),
    ]
    tables += [_table(ratios, f"Seconds per meta-step. {CLAIM}", f"{name}-second-derivatives")] if len(ratios) else []
    return "\n".join(tables).replace("±", r"$\pm$")


def _caption(field: Field) -> str:
    return f"Accuracy per second: {field.words}."


def _table(frame: pd.DataFrame, caption: str, label: str) -> str:
    return str(frame.to_latex(index=False, escape=True, caption=escape(caption), label=f"tab:{label}"))
