"""The record that is there when a run starts: whether today's run would equal it, and what gives way to what."""

from pathlib import Path

from maml_bench import registry
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import Recipe
from maml_bench.record import Record
from maml_bench.record_files import load
from maml_bench.record_search import Tuned


def earlier(path: Path) -> Record | None:
    """The record that is there."""
    try:
        return load(path) if path.exists() else None
    except MamlBenchError as error:
        raise MamlBenchError(f"{error}; use --force to replace it by a new run") from error


def searches(path: Path, tuned: Tuned | None) -> list[Tuned]:
    """The searches that found the values of a record: those that it names already, also if it is to be replaced, and
    the one that ``tuned`` them, if there is one."""
    try:
        there = load(path).tuned if path.exists() else []
    except MamlBenchError:
        there = []
    new = [] if tuned is None else [tuned]
    return [one for one in there if all(one.search != other.search for other in new)] + new


def refuse_unlike(
    found: Record, path: Path, recipe: Recipe, schedule: str, threads: int | None, processes: int | None
) -> None:
    """A record that today's run would not equal is neither what was asked for nor to be lost without a word.

    One that failed is no result, and gives way to any other. None stands for any number of threads or processes.
    """
    if found.status == "failed":
        return
    tasks = registry.build_tasks(recipe.tasks, f"recipe {recipe.id!r}")
    asked = {
        "task version": (found.task_version, tasks.version),
        "data": (found.data, tasks.fingerprint()),
        "schedule": (found.schedule, found.schedule if schedule == "auto" else schedule),
        "threads": (found.threads, threads or found.threads),
        "processes": (found.processes, processes or found.processes),
    }
    for what, (was, now) in asked.items():
        if was != now:
            raise MamlBenchError(
                f"{path} was made with other {what} ({was}, not {now}): use --force to replace it, or other --results"
            )


def replaces(new: Record, old: Record) -> bool:
    """A record gives way only to one of a larger share, or to any that did not fail if it failed itself."""
    if new.status == "failed" or old.status == "failed":
        return old.status == "failed"
    return new.outer_steps > old.outer_steps or (new.status == "ok" and new.whole)
