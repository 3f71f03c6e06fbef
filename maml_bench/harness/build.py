"""The start of a run: build what the recipe names, rehearse it, choose the threads."""

from collections.abc import Sequence

import torch
from torch.utils import _pytree as pytree

from maml_bench import registry
from maml_bench.core.learner import Learner
from maml_bench.engine.kernels.build import compiler
from maml_bench.engine.meta_step import MetaStep
from maml_bench.errors import MamlBenchError
from maml_bench.harness.clock import Clock
from maml_bench.harness.loop import WARM_UP_STEPS, score_test
from maml_bench.harness.recipe import Recipe, Test
from maml_bench.harness.run_state import Training, acting, draw
from maml_bench.harness.seeding import generator

SMALL_ELEMENTS = 2**16
TRACED_FROM_STEPS = 100
GRAPH_FROM_STEPS = 200
ACTING_FROM_STEPS = 10
COMPILED_FROM_STEPS = 20_000
CORES = torch.get_num_threads()


def begin(recipe: Recipe, seed: int, device: str, schedule: str, chunk: int | None = None) -> Training:
    """Everything built from the recipe, before the first step; initial values come from the stream ``init``.

    ``schedule`` is one of core.step.SCHEDULES or ``auto``, see ``schedule_for``; ``chunk`` as in MetaStep.

    Raises:
        MamlBenchError: the recipe names what is not there, or its data are not stored.
    """
    where = f"recipe {recipe.id!r}"
    setup = registry.build_setup(recipe.setup, where)
    tasks = registry.build_tasks(recipe.tasks, where)
    start = generator("init", seed)
    with torch.random.fork_rng(devices=[]):
        model = tasks.model(recipe.train.shape, start)
    acts = acting(tasks)
    learner = Learner(
        model.to(device),
        acts.estimate(recipe.inner.estimator) if acts else tasks.loss,
        tasks.score,
        recipe.inner,
        recipe.train.way,
        outer_loss=acts.estimate(recipe.outer.estimator) if acts else None,
        geometry=acts,
    )
    meta = {name: p.to(device) for name, p in setup.init(learner, start).items()}
    if schedule == "auto":
        schedule = schedule_for(recipe, learner, device)
    body = MetaStep(
        setup, learner, schedule=schedule, chunk=chunk, device=device, **recipe.outer.for_meta_step(),
    )  # fmt: skip
    clock = Clock(device, WARM_UP_STEPS, ("sample", "outer_step"))
    return Training(recipe, tasks, setup, learner, seed, device, clock, body, meta, body.init(meta))


def schedule_for(recipe: Recipe, learner: Learner, device: str) -> str:
    """What ``auto`` means: a rule of network, budget and device alone, so that the same run is the same run again.

    Recording pays from a few hundred steps on, compiling from some ten thousand. Networks with convolution blocks are
    not compiled on a CPU: their time goes to kernels of our own, and what is left is not worth a minute of compiling.
    A CPU without a C++ compiler cannot compile. On a GPU a recording is a CUDA graph, which pays sooner than compiling.
    """
    steps = recipe.outer.steps
    if learner.geometry:  # what is recorded are the policies, asked at every step of every rollout
        return "traced" if steps >= ACTING_FROM_STEPS else "vmap"
    if device != "cpu":
        return "traced" if steps >= GRAPH_FROM_STEPS else "vmap"
    convolutions = any(isinstance(layer, torch.nn.Conv2d) for layer in learner.model.modules())
    if convolutions:
        return "traced" if steps >= TRACED_FROM_STEPS else "vmap"
    if steps >= COMPILED_FROM_STEPS and compiler():
        return "compiled"
    return "traced" if steps >= 10 * TRACED_FROM_STEPS else "vmap"


def rehearse(training: Training, tests: Sequence[Test] | None = None) -> None:
    """Draw one episode of every shape of the recipe and of ``tests`` (default: the recipe's), and score one task of
    every test that needs other statistics than the query's: what cannot work fails now, not after hours."""
    recipe = training.recipe
    tests = recipe.test if tests is None else tests
    shapes = {("train", recipe.train.shape)}
    if recipe.validation.episodes:
        shapes.add(("validation", recipe.validation.shape))
    shapes |= {(test.split, test.shape) for test in tests}
    for split, shape in sorted(shapes):
        draw(training, split, 0, 1, key=0, shape=shape)
        if shape.way > recipe.train.way:
            raise MamlBenchError(
                f"recipe {recipe.id!r} has {shape.way}-way tests, but its network answers {recipe.train.way} classes"
            )
    for test in tests:
        if test.normalisation != "transductive":
            score_test(training, test, [training.meta], tasks=1)


def threads_for(training: Training) -> int:
    """All cores, or one where a meta-batch is so small that threads would only wait for each other."""
    shape, count = training.recipe.train.shape, training.recipe.outer.meta_batch
    one = draw(training, "train", 0, 1, key=0, shape=shape)
    elements = count * sum(int(t.numel()) for t in pytree.tree_leaves(one))
    return 1 if elements < SMALL_ELEMENTS else CORES
