"""Build the report: every table and figure that the records of a results folder can give."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maml_bench.errors import MamlBenchError
from maml_bench.files import locked, remove_leftovers
from maml_bench.record import Record
from maml_bench.record_files import load_all
from maml_bench.report import four_ways, reproduction
from maml_bench.report.figures import write_captions, write_figures, write_speed_figures, write_suite_figures
from maml_bench.report.formats import generated, write
from maml_bench.report.page import write_page
from maml_bench.report.reproduction import Cell
from maml_bench.report.speed.rows import load, load_growth
from maml_bench.report.speed.tables import write_speed_tables
from maml_bench.report.style import MARK as FIGURE_MARK
from maml_bench.report.style import looks
from maml_bench.report.writing import ALL, Selection, write_tables


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


def build(
    results: Path,
    progress: Callable[[str], None] | None = None,
    *,
    read: Callable[[Path], Iterable[tuple[Path, Record]]] = load_all,
    cells: Sequence[Cell] = (),
    tex: bool = False,
    selection: Selection = ALL,
) -> Report:
    """Make all tables and figures below ``results`` again from its records.

    Files of an earlier report that this one does not make are removed, unless there is a selection. A file without our
    mark is never touched.

    Args:
        results: the folder with the records.
        progress: is called with a few words about what is being made.
        read: reads the records of a folder.
        cells: the published numbers of the table of reproductions; without any there is no such table.
        tex: whether to write the tables in LaTeX too.
        selection: what the tables of task families show. Figures and the page show everything.

    Raises:
        MamlBenchError: there are no records, one cannot be read, or there is nothing of what is selected.
    """
    tell = progress or (lambda _: None)
    with locked(results / "tables", f"another process is making the report of {results}", wait_s=120):
        remove_leftovers(results)
        tell("reading records")
        found = list(read(results))
        records = [record for _, record in found]
        races, points = load(results), load_growth(results)
        if not (records or races or points):
            raise MamlBenchError(f"there are no records below {results}; `maml-bench run quickstart` makes some")
        tell(f"writing tables from {len(records)} records")
        tables = write_tables(records, results / "tables", tex=tex, selection=selection)
        tables += write_speed_tables(races, results / "tables", points)
        if cells:
            tables += write(results / "tables", reproduction.files(reproduction.reproduction(cells, records)))
        tables += write(results / "tables", four_ways.files(records))
        tell("drawing figures")
        folder = results / "figures"
        counting = [record for record in records if not record.superseded]
        look = looks(record.recipe["setup"]["name"] for record in records)  # as on the page
        drawn = write_figures(counting, folder, look) | write_suite_figures(counting, folder, look)
        drawn |= write_speed_figures(races, folder)
        captions = write_captions(drawn, folder)
        tell("writing the page")
        page = write_page(found, results) if found else None
        old = [*generated(results / "tables"), *generated(folder), *_generated_figures(folder)]
        removed = [path for path in old if path not in {*tables, *drawn, *captions} and not selection]
        for path in removed:
            path.unlink(missing_ok=True)
        return Report(len(records), len(races) + len(points), tables, list(drawn), page, removed)


def _generated_figures(folder: Path) -> list[Path]:
    """The figures that a report has written: they bear our mark in their metadata."""
    drawn = [path for path in sorted(folder.glob("*")) if path.suffix in (".pdf", ".png")]
    return [path for path in drawn if FIGURE_MARK.encode() in path.read_bytes()]
