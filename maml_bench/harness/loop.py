"""The training loop: sample, meta-gradient, outer optimiser; validation and checkpoints off the training clock."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from torch.utils import _pytree as pytree

from maml_bench import registry
from maml_bench.core.normalisation import Mode, Moments
from maml_bench.core.outer import take
from maml_bench.core.setup import Capability
from maml_bench.engine.meta_step import RECORDED
from maml_bench.harness.recipe import Test
from maml_bench.harness.run_state import KEEP, Observer, Training, acting, draw
from maml_bench.harness.seeding import stream_key
from maml_bench.record import mean_ci95
from maml_bench.types import Episode, Params, Shape

SAMPLE_BYTES = {"cpu": 2**24, "cuda": 2**28}
SAMPLE_STEPS = 64
CHUNK_ELEMENTS = {"cpu": 2**18, "cuda": 2**26}
"""A CPU works best on what its cache holds, a GPU on what keeps all of it busy."""
WARM_UP_STEPS = 5
STATISTICS_TASKS = 100
"""Training tasks whose statistics the mode ``running`` averages."""


def train(run: Training, observer: Observer, stop: Callable[[], bool], after_step: Callable[[], None]) -> None:
    """Go on until the budget is done, ``stop()`` says so, or the loss is no longer finite; ``run`` is changed in place.

    ``after_step`` is called between steps, off the training clock: the place for checkpoints.
    """
    outer = run.recipe.outer
    if run.step == 0 and not run.curve["step"]:
        validate(run, observer)
    episodes = _training_episodes(run)
    recorded = run.body.schedule not in RECORDED
    while run.step < outer.steps and not stop():
        batch = next(episodes)
        if not recorded:  # a step is pure: the first one is thrown away, and what it costs to record it kept apart
            with run.clock.measure("compile"):
                run.body(run.meta, run.optimiser, batch, run.step, outer.rate_at(run.step))
            recorded = True
        with run.clock.measure("outer_step"):
            run.meta, run.optimiser, losses = run.body(
                run.meta, run.optimiser, batch, run.step, outer.rate_at(run.step)
            )
            loss = float(losses.mean())
        run.step += 1
        run.recent_losses.append(loss)
        observer.stepped(run.step, loss)
        if run.diverged():
            return
        if run.step % run.recipe.validation.every == 0 or run.step == outer.steps:
            validate(run, observer)
        after_step()


def validate(run: Training, observer: Observer) -> None:
    """Add a point to the learning curve from the validation split."""
    wanted = run.recipe.validation
    curve = run.curve
    losses, run.recent_losses = run.recent_losses, []
    mean = ci95 = math.nan
    if wanted.episodes:
        with run.clock.measure("validate"):
            scores = score(run, "validation", wanted.shape, wanted.episodes, (wanted.inner_steps,))
        mean, ci95 = mean_ci95(scores[0])
        observer.validated(run.step, mean)
        keep(run, mean)
    curve["step"].append(run.step)
    curve["seconds"].append(round(run.train_s, 4))
    if acting(run.tasks):
        curve.setdefault("env_steps", []).append(run.env_steps)
    curve["train_loss"].append(_or_none(sum(losses) / len(losses)) if losses else None)
    curve["validation"].append(_or_none(mean))
    curve["validation_ci95"].append(_or_none(ci95))


def keep(run: Training, mean: float) -> None:
    """Remember the present meta-parameters if few have validated better; of equal ones the earlier stays."""
    if run.step and math.isfinite(mean):
        sign = -1 if run.tasks.metric.higher_is_better else 1
        run.kept.append((mean, run.step, {name: p.clone() for name, p in run.meta.items()}))
        run.kept = sorted(run.kept, key=lambda kept: (sign * kept[0], kept[1]))[:KEEP]


def score(
    run: Training,
    split: str,
    shape: Shape,
    episodes: int,
    steps: tuple[int, ...],
    *,
    models: Sequence[Params] = (),
    mode: Mode = "transductive",
    moments: Sequence[Sequence[Moments]] = (),
    after_tasks: Callable[[int], None] = lambda done: None,
) -> list[list[float]]:
    """Scores of the first ``episodes`` tasks of ``split``: one list of values per number of inner steps.

    Of the present meta-parameters, or of ``models`` together; ``mode`` and ``moments`` as in core.evaluate.
    ``after_tasks`` is told now and then how many tasks are done.
    """
    models = models or (run.meta,)
    key = stream_key("test" if split == "test" else "validate", run.seed)
    if acts := acting(run.tasks):
        return played(run, acts, split, shape, episodes, steps, key, models[0], after_tasks)
    values: list[list[float]] = [[] for _ in steps]
    one = run.tasks.sample(split, 0, 1, key=key, shape=shape, device=run.device)
    at_once = _chunk(len(models) * _shown(one, mode), episodes, run.device)
    for first in range(0, episodes, at_once):
        batch = run.tasks.sample(split, first, min(at_once, episodes - first), key=key, shape=shape, device=run.device)
        scores = run.body.scores(models, batch, steps, shape.way, mode=mode, moments=moments)
        for column, found in zip(values, scores.T.tolist(), strict=True):
            column.extend(found)
        after_tasks(len(values[0]))
    return values


def played(
    run: Training,
    tasks: Any,
    split: str,
    shape: Shape,
    episodes: int,
    steps: tuple[int, ...],
    key: int,
    meta: Params,
    after_tasks: Callable[[int], None],
) -> list[list[float]]:
    """Scores where somebody acts: of the rollouts after each number of inner steps, each step on those before it."""
    actor = run.body.actor(meta, lambda name: nullcontext())
    rollouts = [shape.shot] * max(steps) + [shape.query]
    path = tasks.path(split, 0, episodes, key=key, rollouts=rollouts, actor=actor, device=run.device)
    after_tasks(episodes)
    return [tasks.score(None, path[count]).tolist() for count in steps]


def score_test(
    run: Training,
    test: Test,
    models: Sequence[Params],
    tasks: int | None = None,
    after_tasks: Callable[[int], None] = lambda done: None,
) -> list[list[float]]:
    """As `score`, of ``models`` on ``test`` as it asks to be normalised; ``tasks`` for fewer than it has."""
    moments = []
    if test.normalisation == "running":
        count = min(STATISTICS_TASKS, tasks or STATISTICS_TASKS)
        moments = [population(run, meta, test.shape, count, test.inner_steps) for meta in models]
    return score(
        run, test.split, test.shape, tasks or test.episodes, test.inner_steps,
        models=models, mode=test.normalisation, moments=moments, after_tasks=after_tasks,
    )  # fmt: skip


def population(run: Training, model: Params, shape: Shape, episodes: int, steps: tuple[int, ...]) -> list[Moments]:
    """What core.evaluate.population finds for ``model`` on the supports of so many training tasks."""
    tasks, key = run.tasks, stream_key("statistics", run.seed)
    if Capability.TRAINS_JOINTLY in run.setup.capabilities:  # classes of the tasks' own, as at test
        tasks = registry.build_tasks(run.recipe.tasks | {"joint": False}, f"recipe {run.recipe.id!r}")
    shape = shape._replace(query=0)
    supports = tasks.sample("train", 0, episodes, key=key, shape=shape, device=run.device).support
    at_once = _chunk(_elements(supports) // episodes, episodes, run.device)
    return run.body.population(model, supports, steps, shape.way, chunk=at_once)


def _training_episodes(run: Training) -> Iterator[Episode]:
    """Meta-batches from the present step on, drawn many steps at once where they are small."""
    shape, count = run.recipe.train.shape, run.recipe.outer.meta_batch
    key = stream_key("train", run.seed)
    acts = acting(run.tasks)
    steps_at_once = 1
    step = run.step
    while True:
        with run.clock.measure("sample"), run.clock.parts() as measure:
            first, drawn = step * count, steps_at_once * count
            block = draw(run, "train", first, drawn, key=key, shape=shape, measure=measure)
        if acts:
            run.env_steps += acts.steps_in(block)
        for i in range(steps_at_once):
            yield take(block, slice(i * count, (i + 1) * count))
        step += steps_at_once
        size = sum(t.numel() * t.element_size() for t in pytree.tree_leaves(block)) // steps_at_once
        steps_at_once = 1 if acts else max(1, min(SAMPLE_STEPS, SAMPLE_BYTES[_kind(run.device)] // size))


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _chunk(elements: int, episodes: int, device: str) -> int:
    """Tasks to evaluate at once: as many as fill a chunk of inputs, all chunks alike if that can be."""
    most = max(1, CHUNK_ELEMENTS[_kind(device)] // elements)
    whole = next(size for size in range(min(most, episodes), 0, -1) if episodes % size == 0)
    return whole if 2 * whole >= most else most


def _shown(one_task: Episode, mode: Mode) -> int:
    """Elements of what the network is shown at test of a task."""
    support, query = _elements(one_task.support), _elements(one_task.query)
    return query + support * (one_task.query.x.shape[1] if mode == "one by one" else 1)


def _elements(tree: Any) -> int:
    return sum(int(t.numel()) for t in pytree.tree_leaves(tree))


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
