"""Train a setup in one call and get a learner that predicts: ``maml_bench.fit``."""

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from maml_bench import registry
from maml_bench.api.listing import first_recipe
from maml_bench.api.running import as_settings
from maml_bench.checked import plain
from maml_bench.cli.progress import Bars, interruptible
from maml_bench.core.setup import Setup
from maml_bench.data.images import Images
from maml_bench.errors import MamlBenchError
from maml_bench.harness import loop, preflight, weights
from maml_bench.harness.build import assemble, rehearse, threads_for
from maml_bench.harness.recipe import AnySetup, Recipe, resolution
from maml_bench.harness.run_state import Observer, RunState, Silent
from maml_bench.learner_files import example_of, refuse_unpredictable
from maml_bench.models import BatchNorm
from maml_bench.predictor import Predictor
from maml_bench.tasks._shared.in_memory import ImagesInMemory
from maml_bench.types import TaskDistribution

IMAGES, WAVES = "images-5w1s", "sinusoid-k10"
"""The recipes that say how setups are trained on images of the user's, and on a family of the user's."""
BUDGET = ("outer.steps", "validation.every", "validation.episodes")
MOST_QUERIES = 15
STOPPING = "stopping after this step; press Ctrl-C again to stop at once and lose what was trained"


def fit(
    setup: AnySetup,
    train: Any,
    validation: Any = None,
    *,
    way: int | None = None,
    shot: int | None = None,
    query: int | None = None,
    steps: int = 1000,
    every: int = 50,
    patience: int = 5,
    episodes: int = 50,
    seed: int = 0,
    set: Mapping[str, Any] | None = None,
    network: Any = None,
    device: str = "cpu",
    threads: int | None = None,
    schedule: str = "auto",
    progress: bool = True,
) -> Predictor:
    """Train a setup on random tasks until it no longer gets better; return the learner that validated best.

    Ctrl-C ends the training after the current step, and what validated best until then is returned.

    Args:
        setup: the name of a setup, the path of a file such as ``./mine.py``, or a class or an instance of Setup.
        train: the classes of the training, one part of `ImageFolder.split`; or a family as `load_tasks` returns it.
        validation: the classes of the validation, likewise. Without them the last step counts and not the best.
            A family has validation tasks of its own.
        way: classes of a task.
        shot: examples of each class in the support.
        query: examples of each class that the outer loss is computed on. This and the two before have by default the
            values of the recipe images-5w1s or of the family's first recipe. Where many classes have few images, there
            are fewer queries.
        steps: the most meta-steps that are taken.
        every: meta-steps from one validation to the next.
        patience: the training ends after so many validations without a better one.
        episodes: tasks of a validation; 0 for none, then the last step counts and not the best.
        seed: the seed of initial values and tasks.
        set: changed keys of the recipe, such as ``{"inner.rate": 0.05}``.
        network: another network, as `run` takes it.
        device: ``cpu`` or ``cuda``.
        threads: processor threads; by default all cores, or one if the tasks are very small.
        schedule: one of engine.execution.SCHEDULES, or ``auto``.
        progress: show the steps, the rate, the validation score and the remaining time.

    Raises:
        MamlBenchError: the input is at fault, or the training diverged.
    """
    preflight.refuse_unfit_seed(seed)
    device = preflight.usable_device(device)
    if patience < 1:
        raise MamlBenchError(f"patience is {patience}, but must be at least 1")
    shape = {"way": way, "shot": shot, "query": query}
    budget = dict(zip(BUDGET, (steps, every, episodes), strict=True))
    if isinstance(train, Images):
        parts = {"train": train} | ({} if validation is None else {"validation": validation})
        if query is None:
            shape["query"] = queries(parts.values(), way or 5, shot or 1)
        budget |= {} if validation is not None else {"validation.episodes": 0}
    elif not hasattr(train, "sample"):
        raise MamlBenchError(
            f"train is a {type(train).__name__}, but must be a part of the classes of an ImageFolder, or a family as "
            "load_tasks returns it"
        )
    elif validation is not None:
        raise MamlBenchError("a family of tasks has validation tasks of its own, so leave validation out")
    drawn = ("train", "validation") if budget["validation.episodes"] else ("train",)
    given = {f"{part}.{key}": n for part in drawn for key, n in shape.items() if n is not None}
    settings = as_settings({**given, **budget, **(set or {})})
    if isinstance(train, Images):
        recipe, method, options = _resolved(IMAGES, setup, network, settings)
        tasks: Any = ImagesInMemory.of(options, parts)
    else:
        recipe, method, tasks = _on_family(train, setup, network, settings)
    maker = registry.build_network(recipe.network, tasks, f"recipe {recipe.id!r}")
    run = assemble(recipe, tasks, maker, method, seed, device, schedule)
    if any(isinstance(layer, BatchNorm) for layer in run.learner.model.modules()):
        run.validated_by = "support"  # as predictions are made
    rehearse(run, ())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or threads_for(run))
        _train(run, patience, progress)
    finally:
        torch.set_num_threads(before)
    return _predictor(run)


def queries(parts: Iterable[Images], way: int, shot: int) -> int:
    """How many queries of each class fit the parts: at most 15, and no more than leave three quarters of the classes of
    each part with enough images for ``shot`` more, and as many classes as a task has. It is at least 1."""
    fit = MOST_QUERIES
    for part in parts:
        sizes = sorted(part.sizes, reverse=True)
        needed = min(len(sizes), max(way, math.ceil(0.75 * len(sizes))))
        fit = min(fit, sizes[needed - 1] - shot if sizes else fit)
    return max(1, fit)


def _on_family(
    family: Any, setup: AnySetup, network: Any, settings: Sequence[str]
) -> tuple[Recipe, Setup, TaskDistribution]:
    """The recipe and the setup for a family of ours or of the user's, and the family with what the setup needs."""
    refuse_unpredictable(family)
    own = family.name not in registry.task_names()
    name = (IMAGES if registry.has_ways(type(family)) else WAVES) if own else first_recipe(family.name)
    recipe, method, _ = _resolved(name, setup, network, settings, tasks=family if own else None)
    tasks = replace(family, **registry.needed(type(family), method))
    table = recipe.tasks if own else {"name": family.name}
    return replace(recipe, tasks={**table, **plain(tasks)}), method, tasks


def _resolved(
    name: str, setup: AnySetup, network: Any, settings: Sequence[str], tasks: Any = None
) -> tuple[Recipe, Setup, Any]:
    found = resolution(name, preset="quick", setup=setup, tasks=tasks, network=network, settings=settings)
    for setting, sentence in found.ignored.items():
        if setting.partition("=")[0] not in BUDGET:  # a setup that is not trained reads none of these
            raise MamlBenchError(sentence)
    return found.recipe, found.setup, found.tasks


def _train(run: RunState, patience: int, progress: bool) -> None:
    """Train ``run`` to the end of its budget, until it was not better for so long, or until Ctrl-C."""
    with ExitStack() as stack:
        interrupted: Callable[[], bool] = bool  # never
        if threading.current_thread() is threading.main_thread():  # elsewhere Python handles no signal
            interrupted = stack.enter_context(interruptible(STOPPING, "nothing is kept"))
        observer: Observer = stack.enter_context(Bars()) if progress else Silent()
        observer.started(f"{run.recipe.setup['name']} on {run.tasks.name}", 0, run.recipe.outer.steps)
        loop.train(run, observer, lambda: interrupted() or stale(run) >= patience, lambda: None)
    if run.diverged() or not all(bool(p.isfinite().all()) for p in run.meta.values()):
        raise MamlBenchError(
            f"the training diverged at step {run.step:,}: take a smaller inner.rate or outer.rate, with `set`"
        )


def stale(run: RunState) -> int:
    """How many validations there were since the one that is the best after the first step."""
    if not run.kept:
        return 0
    best = run.kept[0][1]
    return sum(step > best for step in run.curve["step"])


def _predictor(run: RunState) -> Predictor:
    """The learner with the meta-parameters that validated best, or with the last ones where nothing was validated."""
    mean, step, meta = run.kept[0] if run.kept else ("", run.step, run.meta)
    about = {"setup": run.recipe.setup["name"], "seed": str(run.seed), "step": str(step), "validation": str(mean)}
    example = example_of(run.tasks, run.recipe.train.shape)
    return Predictor(
        run.tasks, run.setup, run.learner, meta, weights.learner_table(run.recipe, run.tasks), about, example
    )
