"""Build the report: every table and figure that the records of a results folder can give."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maml_bench.errors import MamlBenchError
from maml_bench.files import locked
from maml_bench.record import load_all
from maml_bench.report.figures import write_figures, write_speed_figures, write_suite_figures
from maml_bench.report.formats import MARK as TABLE_MARK
from maml_bench.report.page import write_page
from maml_bench.report.speed.rows import load as load_speed
from maml_bench.report.speed.writing import write_speed_tables
from maml_bench.report.style import MARK as FIGURE_MARK
from maml_bench.report.suites.writing import write_suite_tables
from maml_bench.report.writing import write_tables


@dataclass(frozen=True)
class Report:
    """The files that were written, the old files that were removed, and the number of records and of speed rows behind
    them. ``page`` is None where there are only rows of speed."""

    records: int
    speed: int
    tables: list[Path]
    figures: list[Path]
    page: Path | None
    removed: list[Path]


def build(results: Path, progress: Callable[[str], None] | None = None) -> Report:
    """Make all tables and figures below ``results`` again from its records.

    Files of an earlier report that this one does not make are removed. A file without our mark is never touched.
    ``progress`` is called with a few words about what is being made.

    Raises:
        MamlBenchError: there are no records, or one cannot be read.
    """
    with locked(results / "tables", f"another process is making the report of {results}", wait_s=120):
        return _build(results, progress or (lambda _: None))


def _build(results: Path, tell: Callable[[str], None]) -> Report:
    tell("reading records")
    found = list(load_all(results))
    records = [record for _, record in found]
    speed = load_speed(results)
    if not records and not speed:
        raise MamlBenchError(f"there are no records below {results}; `maml-bench run quickstart` makes some")
    tell(f"writing tables from {len(records)} records")
    folder = results / "tables"
    tables = write_tables(records, folder) + write_suite_tables(records, folder) + write_speed_tables(speed, folder)
    tell("drawing figures")
    folder = results / "figures"
    figures = write_figures(records, folder) + write_suite_figures(records, folder)
    figures += write_speed_figures(speed, folder)
    tell("writing the page")
    page = write_page(found, results) if found else None
    removed = [path for path in _generated(results) if path not in {*tables, *figures}]
    for path in removed:
        path.unlink(missing_ok=True)
    return Report(len(records), len(speed), tables, figures, page, removed)


def _generated(results: Path) -> list[Path]:
    """The files that a report has written: a table bears our mark in its first line, a figure in its metadata."""
    tables = [p for p in sorted((results / "tables").glob("*")) if p.suffix in (".md", ".csv", ".tex")]
    figures = [p for p in sorted((results / "figures").glob("*")) if p.suffix in (".pdf", ".png")]
    return [
        *(path for path in tables if TABLE_MARK.encode() in path.read_bytes().split(b"\n", 1)[0]),
        *(path for path in figures if FIGURE_MARK.encode() in path.read_bytes()),
    ]
