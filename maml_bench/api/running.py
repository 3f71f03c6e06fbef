"""Runs from Python: ``maml_bench.run``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maml_bench.errors import MamlBenchError
from maml_bench.harness.executors.job import Job
from maml_bench.harness.executors.processes import Processes
from maml_bench.harness.layers import as_toml
from maml_bench.harness.preflight import refuse_unfit_seed
from maml_bench.harness.protocols import asked_tests
from maml_bench.harness.recipe import AnySetup, Recipe, default_setups, resolve_all
from maml_bench.harness.run import Options
from maml_bench.harness.run_state import Observer, Silent
from maml_bench.record import Record


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
    numbers = numbers_of(seeds)
    recipes = [recipe] if isinstance(recipe, str) else recipe
    planned = plan(recipes, setups_of(setup), preset, settings, tasks=tasks, network=network)
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


def numbers_of(seeds: int | Sequence[int]) -> list[int]:
    """One seed or several as a list.

    Raises:
        MamlBenchError: a seed is no whole number of at least 0.
    """
    numbers = [seeds] if isinstance(seeds, int) else list(seeds)
    for number in numbers:
        refuse_unfit_seed(number)
    return numbers


def setups_of(setup: AnySetup | Sequence[AnySetup] | None) -> list[Any]:
    """One setup or several as a list, which is empty for None."""
    return [] if setup is None else list(setup) if isinstance(setup, list | tuple) else [setup]


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
