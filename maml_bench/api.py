"""The Python interface of the package: what the command line does, as functions. ``import maml_bench`` offers them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from maml_bench import registry
from maml_bench.errors import MamlBenchError
from maml_bench.harness.executors.job import Job
from maml_bench.harness.executors.processes import Processes
from maml_bench.harness.layers import as_toml, raw
from maml_bench.harness.own_budget import read_records, with_own_budget
from maml_bench.harness.preflight import refuse_unfit_seed
from maml_bench.harness.protocols import asked_tests
from maml_bench.harness.recipe import AnySetup, Recipe, default_setups, presets_of, resolve, resolve_all
from maml_bench.harness.recipe_files import load_files
from maml_bench.harness.run import Options
from maml_bench.harness.run_state import Observer, Silent
from maml_bench.record import Record
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


def run(
    recipe: str | Sequence[str],
    setup: AnySetup | Sequence[AnySetup] | None = None,
    seeds: int | Sequence[int] = 0,
    preset: str = "quick",
    set: Mapping[str, Any] | None = None,
    *,
    tasks: Any = None,
    network: Any = None,
    results: str | Path = "runs",
    device: str = "cpu",
    threads: int | None = None,
    schedule: str = "auto",
    protocols: Sequence[str] = (),
    budget_steps: int | None = None,
    force: bool = False,
    observer: Observer | None = None,
    jobs: int = 1,
) -> list[Record]:
    """Train and evaluate every setup on every recipe with every seed; finished runs are skipped.

    Each run leaves its record below ``results``. If a run is interrupted by Ctrl-C, its last checkpoint stays there,
    and the same call continues it. A run that diverges or fails leaves a record too; see ``Record.status``.

    Args:
        recipe: the name of a recipe, or several.
        setup: the name of a setup, the path of a file such as ``./mine.py``, a class or an instance of Setup, or
            several of these. The default is that of the recipe.
        seeds: one seed or several, each 0 or more.
        preset: the budget: ``smoke`` (seconds), ``quick`` (minutes) or ``paper`` (all of it).
        set: changed keys of the recipe, such as ``{"inner.rate": 0.05}``.
        tasks: another family of tasks: a name, a file such as ``./waves.py``, a class or an instance (see
            types.TaskDistribution). Its options start from its own defaults.
        network: another network: a name that the family knows, a file such as ``./net.py:Net``, a class or function
            that is called with those of ``shape`` and ``generator`` that it takes, or a module. The values of a module
            are the start of every seed.
        results: the folder for records, weights and checkpoints.
        device: ``cpu`` or ``cuda``.
        threads: processor threads; the default is all cores, or one if the tasks are as small as sinusoids.
        schedule: one of engine.execution.SCHEDULES, or ``auto``.
        protocols: the tests to take (``paper``, ``modern``); the default is that of the recipe.
        budget_steps: the number of meta-steps after which each run ends early.
        force: run again what is finished.
        observer: who is told of the progress; by default nobody.
        jobs: the number of runs that are made at a time. Several are made in processes of their own, among which the
            cores are divided, and all of them tell ``observer``.

    Returns:
        One record a run, in the order of recipes, setups and seeds.

    Raises:
        MamlBenchError: the input is at fault, and nothing has been run then; or the process of a run was killed again
            and again.
    """
    settings = as_settings(set or {})
    numbers = [seeds] if isinstance(seeds, int) else list(seeds)
    for number in numbers:
        refuse_unfit_seed(number)
    recipes = [recipe] if isinstance(recipe, str) else recipe
    setups: list[Any] = [] if setup is None else list(setup) if isinstance(setup, list | tuple) else [setup]
    planned = plan(recipes, setups, preset, settings, tasks=tasks, network=network)
    for one in planned:
        asked_tests(one, protocols)
    options = Options(
        Path(results), device, threads, schedule, budget_steps=budget_steps, force=force, protocols=tuple(protocols)
    )
    wanted = [Job(one, seed, options) for one in planned for seed in numbers]
    found: dict[int, Record | None] = {}
    for ended in Processes().run(wanted, lambda job: observer or Silent(), lambda: False, at_once=jobs):
        if ended.error is not None:
            raise ended.error
        found[id(ended.job)] = ended.outcome.record if ended.outcome else None
    records = [found.get(id(job)) for job in wanted]
    return [record for record in records if record is not None]


def plan(
    recipes: Sequence[str],
    setups: Sequence[AnySetup],
    preset: str,
    settings: Sequence[str],
    *,
    tasks: Any = None,
    network: Any = None,
) -> list[Recipe]:
    """Every recipe with every setup (no setup: the recipe's own), resolved before the first one runs.

    ``tasks`` and ``network`` are those of `run`.

    Raises:
        MamlBenchError: a name, a key or a value is wrong.
    """
    return [
        recipe
        for name in recipes
        for recipe in resolve_all(
            name,
            preset=preset,
            setups=setups or default_setups(name),
            tasks=tasks,
            network=network,
            settings=settings,
        )
    ]


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


def load_tasks(name: str, **options: Any) -> Any:
    """The family of tasks called ``name``, with options of its class, such as ``load_tasks("omniglot", split="finn")``.

    ``name`` may be a file such as ``./waves.py``.

    Returns:
        A types.TaskDistribution, or rl.protocol.Acting in reinforcement learning. Options that are not given have
        the values of the first recipe on these tasks, at its largest budget, or their defaults where there is none.

    Raises:
        MamlBenchError: there is no such family or option.
    """
    reference = registry.tasks_reference(name)
    if name not in registry.task_names():
        return registry.build_tasks(reference | options, f"load_tasks({name!r})")
    first = first_recipe(name)
    tasks = resolve(first, preset=presets_of(first)[-1]).tasks | options
    return registry.build_tasks(tasks, f"load_tasks({name!r})")


def list_setups() -> list[str]:
    """The names of the setups in the package, sorted."""
    return registry.setup_names()


def list_recipes() -> list[str]:
    """The names of the recipes in the package, in the order of their files."""
    return list(load_files())


def as_settings(changes: Mapping[str, Any]) -> list[str]:
    """Changed keys as ``--set`` takes them.

    Raises:
        MamlBenchError: a recipe cannot hold one of the values.
    """
    found = []
    for key, value in changes.items():
        try:
            found.append(f"{key}={as_toml(value)}")
        except (TypeError, ValueError) as error:
            raise MamlBenchError(f"{value!r} cannot be the value of a key: {error}") from error
    return found


def first_recipe(tasks: str) -> str:
    """The id of the first recipe of the package on the tasks of that name."""
    return next(recipe for recipe in load_files() if _family(recipe) == tasks)


def _family(recipe: str) -> str | None:
    table = load_files()[recipe]
    name = table.get("tasks", {}).get("name")
    return str(name) if name else _family(table["extends"]) if "extends" in table else None
