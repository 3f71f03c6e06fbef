"""What records say: ``maml_bench.load_records`` and ``maml_bench.compare``, tables and figures."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, overload

from maml_bench import registry
from maml_bench.errors import MamlBenchError
from maml_bench.harness.layers import raw
from maml_bench.harness.own_budget import read_records, with_own_budget
from maml_bench.harness.recipe import resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.record_files import load
from maml_bench.report.build import Report, build
from maml_bench.report.compare import Comparison, Rules
from maml_bench.report.compare import compare as compare_sides
from maml_bench.report.flat_rows import flat_rows
from maml_bench.report.methods import Difference, compare_methods
from maml_bench.report.pairing import REFERENCE, reference
from maml_bench.report.reproduction import Cell
from maml_bench.report.writing import Selection

if TYPE_CHECKING:
    import pandas

FOLDER = "folder"
"""The key of the results folder in ``attrs`` of the table that `load_records` returns."""


def load_records(folder: str | Path = "runs") -> "pandas.DataFrame":
    """The records below ``folder`` as a table with one row a record and test point.

    Scores are raw values of the metric (an accuracy is a fraction); times are seconds.

    Raises:
        MamlBenchError: the folder is not there, or a record in it cannot be read.
    """
    import pandas

    root = Path(folder)
    table = pandas.DataFrame(flat_rows(read_records(root), root))
    table.attrs[FOLDER] = str(root)
    return table


@overload
def compare(
    base: str | Path,
    new: str | Path,
    *,
    quality_threshold: float = ...,
    relative_threshold: float = ...,
    time_threshold: float = ...,
    across_machines: bool = ...,
) -> Comparison: ...


@overload
def compare(base: "str | Path | pandas.DataFrame", new: str, second: str) -> "pandas.DataFrame": ...


def compare(
    base: "str | Path | pandas.DataFrame",
    new: str | Path,
    second: str | None = None,
    *,
    quality_threshold: float = Rules.quality,
    relative_threshold: float = Rules.relative,
    time_threshold: float = Rules.time,
    across_machines: bool = Rules.across_machines,
) -> "Comparison | pandas.DataFrame":
    """Compare two sets of records, or two methods of one set.

    ``compare("reference", "runs")`` tells whether the records of ``runs`` are better or worse than the reference
    records of maml-bench. Each side is a results folder or one record file; only ``reference`` in the first place is a
    word of its own, and a folder of that name is ``./reference``. Runs belong together if they have the same recipe
    name, preset, setup and seed. Scores are compared at the inner steps with a published value, else at those of
    validation.

    ``compare("runs", "maml", "mine")`` compares two setups on the same seeds and test tasks. The first argument is a
    folder, or a table from `load_records`, of which you may have selected some rows.

    Args:
        base: the records to compare with; with ``second``, all records.
        new: the records that may be better or worse; with ``second``, the name of the first setup.
        second: the name of the second setup.
        quality_threshold: smallest change of accuracy that counts, a fraction (0.01 is one point).
        relative_threshold: smallest change of any other metric that counts, relative to base.
        time_threshold: smallest relative change of seconds per outer step that counts.
        across_machines: compare seconds although machine, device, threads or schedule differ.

    Returns:
        A Comparison of two sets of records: ``findings`` has one Finding for each quantity, and ``worse`` says whether
        any of them is worse. For two methods, a table with one row for each test: the scores ``first`` and ``second``,
        their ``difference`` (second - first), and ``low`` and ``high``, the ends of its 95 % interval.

    Raises:
        MamlBenchError: a record cannot be read, or there is nothing to compare.
    """
    import pandas

    if second is not None:
        return pandas.DataFrame(differences(base, str(new), second))
    if isinstance(base, pandas.DataFrame):
        raise MamlBenchError("a table has the records of one side: name two setups, or compare two folders")
    rules = Rules(quality_threshold, relative_threshold, time_threshold, across_machines)
    return compare_sides(base, Path(new), rules)


def differences(records: "str | Path | pandas.DataFrame", first: str, second: str) -> list[Difference]:
    """The differences between two setups, as `compare` tables them.

    Raises:
        MamlBenchError: a record cannot be read, or the two setups have no test in common.
    """
    if isinstance(records, str) and records == REFERENCE:
        return compare_methods(map(with_own_budget, reference()), first, second)
    if isinstance(records, str | Path):
        if not Path(records).is_dir():
            raise MamlBenchError(f"there is no results folder {records}")
        return compare_methods([record for _, record in read_records(Path(records))], first, second)
    if FOLDER not in records.attrs or "path" not in records:
        raise MamlBenchError(
            "the table does not say where its records are: pass the folder, or a table of load_records"
        )
    paths = records["path"].drop_duplicates()
    return compare_methods([load(Path(records.attrs[FOLDER], path)) for path in paths], first, second)


def report(
    results: Path,
    progress: Callable[[str], None] | None = None,
    *,
    tex: bool = False,
    setups: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Report:
    """Make all tables and figures below ``results`` again from its records, with the table of the MAML paper.

    With ``tex``, the tables are written in LaTeX too. ``setups`` and ``columns`` say which of them the tables show. See
    `maml_bench.report.build.build`.

    Raises:
        MamlBenchError: there are no records, one cannot be read, or there is no such setup or column.
    """
    selection = Selection(tuple(setups), tuple(columns))
    return build(results, progress, read=read_records, cells=paper_cells(), tex=tex, selection=selection)


def paper_cells(paper: str = "Finn et al. 2017") -> list[Cell]:
    """Every published number whose source names ``paper``, with each recipe of the package that reproduces it."""
    cells = []
    for name in load_files():
        table = raw(name)
        published = [
            *table.get("published", ()),
            *(row for rows in table.get("setups_published", {}).values() for row in rows),
        ]
        for setup in dict.fromkeys(row["setup"] for row in published if paper in row["source"]):
            recipe = resolve(name, preset="paper", setup=setup)
            metric = registry.task_class(recipe.tasks["name"]).metric
            cells += [
                Cell(name, recipe.recipe_id, setup, recipe.outer.steps, metric, asdict(number))
                for number in recipe.published
                if number.setup == setup and paper in number.source
            ]
    return cells
