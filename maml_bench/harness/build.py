"""The start of a run: build what the recipe names, rehearse it, choose the threads."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import nn

from maml_bench import registry
from maml_bench.core.evaluate import asked
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.outer import take
from maml_bench.core.setup import Capability, Setup
from maml_bench.engine.meta_step import MetaStep
from maml_bench.engine.scoring import Scorer
from maml_bench.errors import MamlBenchError
from maml_bench.harness.clock import Clock
from maml_bench.harness.episodes import Episodes, LabelledEpisodes
from maml_bench.harness.loop import WARM_UP_STEPS, score_test
from maml_bench.harness.outputs import refuse_wrong_outputs
from maml_bench.harness.recipe import OF_BATCH_NORM, Recipe, Test
from maml_bench.harness.run_state import OuterStep, RunState
from maml_bench.harness.sections import TrustRegion
from maml_bench.harness.seeding import generator, global_draws
from maml_bench.harness.team import Team
from maml_bench.native_code import compiler
from maml_bench.own_code import place_of
from maml_bench.rl.actor import actors
from maml_bench.rl.episodes import CollectedEpisodes
from maml_bench.rl.protocol import Acting, acts
from maml_bench.rl.trust_region import TrustRegionStep
from maml_bench.trees import leaves
from maml_bench.types import Batch, Episode, Params

SMALL_ELEMENTS = 2**16
TRACED_FROM_STEPS = 100
GRAPH_FROM_STEPS = 200
ACTING_FROM_STEPS = 10
COMPILED_FROM_STEPS = 20_000
CORES = torch.get_num_threads()


def build(
    recipe: Recipe, seed: int, device: str, schedule: str, chunk: int | None = None, team: Team | None = None
) -> RunState:
    """Everything that the recipe names, before the first step; initial values come from the stream ``init``.

    ``schedule`` is one of engine.execution.SCHEDULES or ``auto``, see ``schedule_for``; ``chunk`` is as in MetaStep.
    ``team`` are the processes that make the run together; the recipe is one that `refuse_indivisible` lets pass.

    Raises:
        MamlBenchError: the recipe names what is not there, or its data are not stored.
    """
    where = f"recipe {recipe.id!r}"
    setup = registry.build_setup(recipe.setup, where)
    tasks = registry.build_tasks(recipe.tasks, where)
    network = registry.build_network(recipe.network, tasks, where)
    return assemble(recipe, tasks, network, setup, seed, device, schedule, chunk, team)


def assemble(
    recipe: Recipe,
    tasks: Any,
    network: registry.NetworkMaker,
    setup: Setup,
    seed: int,
    device: str,
    schedule: str,
    chunk: int | None = None,
    team: Team | None = None,
) -> RunState:
    """As `build`, of parts that are there already."""
    start = generator("init", seed)
    with global_draws("init", seed):  # layers of a user draw their initial values there
        model = network(recipe.train.shape, start).to(device)
    if schedule == "auto":
        schedule = schedule_for(recipe, model, device, acting=acts(tasks))
    if acts(tasks):
        networks = partial(_networks, recipe, network, seed, device) if setup.network_per_task else None
        learner, step, episodes = _acting(recipe, tasks, setup, model, schedule, chunk, device, networks)
    else:
        learner, step, episodes = _labelled(recipe, tasks, setup, model, schedule, chunk, device, team)
    with global_draws("init of the setup", seed):
        meta = {name: p.to(device) for name, p in setup.init(learner, start).items()}
    clock = Clock(device, WARM_UP_STEPS, ("sample", "outer_step"))
    state = step.init(meta)
    return RunState(recipe, tasks, setup, learner, seed, device, clock, step, episodes, meta, state, team=team)


Parts = tuple[Learner, OuterStep, Episodes]


def _labelled(
    recipe: Recipe,
    tasks: Any,
    setup: Setup,
    model: nn.Module,
    schedule: str,
    chunk: int | None,
    device: str,
    team: Team | None,
) -> Parts:
    learner = Learner(model, tasks.loss, tasks.score, _inner(recipe, model), recipe.train.way)
    step = _meta_step(recipe, setup, learner, schedule, chunk, device, team)
    joint = Capability.TRAINS_JOINTLY in setup.capabilities  # then tests are of the tasks' own classes
    as_at_test = replace(tasks, joint=False) if joint else None
    scorer = Scorer(setup, step.execution)
    return learner, step, LabelledEpisodes(tasks, setup, learner, scorer, device, as_at_test)


def _inner(recipe: Recipe, model: nn.Module) -> Inner:
    """The inner loop of the recipe. A network of the user's may lack the scales and offsets of batch normalisation
    that the recipe leaves out of it."""
    if recipe.network is None:
        return recipe.inner
    names = [name for name, _ in model.named_parameters()]
    outside = tuple(
        pattern
        for pattern in recipe.inner.outside
        if pattern not in OF_BATCH_NORM or any(fnmatchcase(name, pattern) for name in names)
    )
    return replace(recipe.inner, outside=outside)


def _acting(
    recipe: Recipe,
    tasks: Acting,
    setup: Setup,
    model: nn.Module,
    schedule: str,
    chunk: int | None,
    device: str,
    networks: Callable[[int], Params] | None,
) -> Parts:
    inner, outer = tasks.estimate(recipe.inner.estimator), tasks.estimate(recipe.outer.estimator)
    way = recipe.train.way
    learner = Learner(model, inner, tasks.score, recipe.inner, way, outer_loss=outer, acting=tasks)
    step: OuterStep
    if isinstance(recipe.outer, TrustRegion):
        if chunk:
            raise MamlBenchError("the outer optimiser 'trpo' takes all tasks at once: leave --chunk out")
        step = TrustRegionStep(setup, learner, tasks, recipe.outer.trust, schedule=schedule, device=device)
    else:
        step = _meta_step(recipe, setup, learner, schedule, chunk, device)
    acted = actors(setup, step.execution, lengths_vary=tasks.lengths_vary())
    return learner, step, CollectedEpisodes(tasks, acted, device, networks)


def _networks(recipe: Recipe, network: registry.NetworkMaker, seed: int, device: str, count: int) -> Params:
    """New networks for the first ``count`` test tasks, each from a random stream of its own."""
    models = []
    for stream in [f"init of test task {k}" for k in range(count)]:
        with global_draws(stream, seed):
            models.append(network(recipe.train.shape, generator(stream, seed)))
    return {name: p.to(device) for name, p in torch.func.stack_module_state(models)[0].items()}


def _meta_step(
    recipe: Recipe,
    setup: Setup,
    learner: Learner,
    schedule: str,
    chunk: int | None,
    device: str,
    team: Team | None = None,
) -> MetaStep:
    options = recipe.outer.for_meta_step()
    together = partial(team.mean, recipe.outer.meta_batch) if team else None
    return MetaStep(setup, learner, schedule=schedule, chunk=chunk, device=device, together=together, **options)


def schedule_for(recipe: Recipe, model: nn.Module, device: str, *, acting: bool) -> str:
    """What ``auto`` means: a rule of network, budget and device alone, so that the same run is the same run again.

    Recording pays from a few hundred steps on, compiling from some ten thousand. Networks with convolution blocks are
    not compiled on a CPU: their time goes to kernels of our own, and what is left is not worth a minute of compiling.
    A CPU without a C++ compiler cannot compile. On a GPU a recording is a CUDA graph, which pays sooner than compiling.
    """
    steps = recipe.outer.steps
    if acting:  # what is recorded are the policies, asked at every step of every rollout
        return "traced" if steps >= ACTING_FROM_STEPS else "vmap"
    if device != "cpu":
        return "traced" if steps >= GRAPH_FROM_STEPS else "vmap"
    convolutions = any(isinstance(layer, nn.Conv2d) for layer in model.modules())
    if convolutions:
        return "traced" if steps >= TRACED_FROM_STEPS else "vmap"
    if steps >= COMPILED_FROM_STEPS and compiler():
        return "compiled"
    return "traced" if steps >= 10 * TRACED_FROM_STEPS else "vmap"


def rehearse(run: RunState, tests: Sequence[Test] | None = None) -> None:
    """Draw one episode of every shape of the recipe and of ``tests`` (default: the recipe's), and score one task of
    every test that needs other statistics than the query's: what cannot work fails now, not after hours."""
    recipe = run.recipe
    tests = recipe.test if tests is None else tests
    own = not acts(run.tasks) and (recipe.network is not None or "sha256" in {**recipe.tasks, **recipe.setup})
    wanted = {("train", recipe.train.shape): 0}
    if recipe.validation.episodes:
        wanted["validation", recipe.validation.shape] = recipe.validation.inner_steps
    for test in tests:
        steps = max(test.inner_steps, default=0)
        wanted[test.split, test.shape] = max(steps, wanted.get((test.split, test.shape), 0))
    for (split, shape), steps in sorted(wanted.items()):
        with global_draws("rehearsal", run.seed, run.device):
            before = torch.get_rng_state()
            drawn = run.episodes.draw(run.meta, split, 0, 1, key=0, shape=shape)
            if not acts(run.tasks) and not torch.equal(before, torch.get_rng_state()):
                raise MamlBenchError(
                    f"the tasks {run.tasks.name!r} draw from torch's global generator, so equal runs would meet other "
                    "episodes: draw from torch.Generator().manual_seed(key)"
                )
            if split != "train" and own:
                _refuse_wrong_outputs(run, take(drawn, 0), shape.way)
        if split != "train":  # training episodes are not scored
            asked(drawn.query, steps)
        if shape.way > recipe.train.way:
            raise MamlBenchError(
                f"recipe {recipe.id!r} has {shape.way}-way tests, but its network answers {recipe.train.way} classes"
            )
    for test in tests:
        if test.normalisation != "transductive" and recipe.network is not None:
            _refuse_other_batch_norm(run.learner.model)
        if test.normalisation != "transductive":
            score_test(run, test, [run.meta], tasks=1)


def _refuse_wrong_outputs(run: RunState, task: Episode, way: int) -> None:
    """Raise MamlBenchError where code of the user's answers a query in another shape than that of the targets."""
    if isinstance(task.query, Batch):
        learner = run.learner.with_way(way)
        state = run.setup.states(learner, run.meta, task.support, 0)[-1]
        outputs = run.setup.predict(learner, run.meta, state, task.query.x)
        own = "sha256" in run.recipe.setup and "predict" in vars(type(run.setup))
        where = type(run.setup).predict if own else type(run.learner.model)
        refuse_wrong_outputs(outputs, task.query, way, place_of(where), "predict" if own else "the network")


def _refuse_other_batch_norm(model: nn.Module) -> None:
    """Raise MamlBenchError where a network of the user's has batch-norm whose statistics no test can choose."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise MamlBenchError(
                f"the layer {name!r} of the network is {type(layer).__name__}, which takes the statistics of the query "
                "in every test: use maml_bench.models.BatchNorm, or only tests that are transductive (--protocol paper)"
            )


def threads_for(run: RunState) -> int:
    """All cores that this process may use, or one where its tasks are so small that threads would only wait for each
    other."""
    shape, count = run.recipe.train.shape, len(run.share)
    one = run.episodes.draw(run.meta, "train", 0, 1, key=0, shape=shape)
    elements = count * sum(int(t.numel()) for t in leaves(one))
    return 1 if elements < SMALL_ELEMENTS else run.team.cores if run.team else CORES
