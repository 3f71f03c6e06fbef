"""What there is: ``maml_bench.load_tasks``, ``list_setups`` and ``list_recipes``."""

from typing import Any

from maml_bench import registry
from maml_bench.harness.recipe import presets_of, resolve
from maml_bench.harness.recipe_files import load_files


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


def first_recipe(tasks: str) -> str:
    """The id of the first recipe of the package on the tasks of that name."""
    return next(recipe for recipe in load_files() if _family(recipe) == tasks)


def _family(recipe: str) -> str | None:
    table = load_files()[recipe]
    name = table.get("tasks", {}).get("name")
    return str(name) if name else _family(table["extends"]) if "extends" in table else None
