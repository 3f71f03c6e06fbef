"""One run on several processes: which recipes can be divided, and the training loop of all processes."""

from collections.abc import Callable
from typing import Any

from maml_bench import registry
from maml_bench.errors import MamlBenchError
from maml_bench.harness import loop
from maml_bench.harness.recipe import Recipe
from maml_bench.harness.run_state import Observer, RunState
from maml_bench.rl.protocol import acts


def refuse_indivisible(recipe: Recipe, processes: int) -> None:
    """Raise MamlBenchError where a meta-step of the recipe is not a mean over tasks that processes can divide."""
    name, tasks, batch = recipe.setup["name"], recipe.tasks["name"], recipe.outer.meta_batch
    where = f"recipe {recipe.id!r}"
    if acts(registry.build_tasks(recipe.tasks, where)):
        why = f"the tasks {tasks} are of reinforcement learning, where all tasks of a meta-batch are collected together"
    elif not recipe.outer.steps:
        why = f"the setup {name} has no meta-training"
    elif registry.build_setup(recipe.setup, where).pool:
        why = f"the setup {name} trains all tasks of its pool in every meta-step"
    elif batch < processes:
        why = f"outer.meta_batch is {batch}, so that some of the {processes} processes would have no task"
    else:
        return
    raise MamlBenchError(
        f"{where} with {name} cannot be divided among processes, because {why}: start it without torchrun, which is "
        "for setups whose meta-gradient is a mean over labelled tasks, with a meta-batch of at least one task a process"
    )


def train(run: RunState, observer: Observer, stop: Callable[[], bool], after_step: Callable[[], None]) -> None:
    """As `loop.train`, also in several processes. The first of them decides when all stop."""
    team = run.team
    if team is None:
        loop.train(run, observer, stop, after_step)
        return
    with team.training():
        loop.train(run, observer, lambda: team.agreed(stop()), after_step)


def alike(conditions: dict[str, Any]) -> dict[str, Any]:
    """Those of the conditions of a run that must be equal in all its processes."""
    return {name: value for name, value in conditions.items() if name not in ("device", "threads")}
