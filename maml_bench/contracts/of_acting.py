"""The contracts of a family of tasks in which an actor collects the data, and of what acts there.

What is collected depends on the actor, so the rollouts of such a family are those of the setup that it is checked with.
"""

import math
from collections.abc import Callable

import torch

from maml_bench.contracts.checks import Broken, Unchecked, gradient_is_exact, of, schedules_agree
from maml_bench.contracts.of_setups import SETUP
from maml_bench.contracts.of_tasks import SPLITS, says_what_it_is
from maml_bench.contracts.problem import Problem
from maml_bench.contracts.watching import Watch
from maml_bench.core.evaluate import Request
from maml_bench.harness.build import build
from maml_bench.rl.control import Control
from maml_bench.rl.episodes import CollectedEpisodes
from maml_bench.trees import leaves
from maml_bench.types import Episode, Params, Shape

KEY = 12_345
TASKS_OF_A_SPLIT = 100
TOLERANCE = 1e-3
"""Tasks side by side are computed by other kernels than one task alone, and a rollout makes more of the rounding."""
_HOW = "draw from maml_bench.data.draws, or from the `noise` that `start` is given, and from nothing else"


def rollouts_have_their_shape(problem: Problem) -> None:
    """The support is a list of rollouts before each inner step, the query those after the last; all are finite."""
    shape, tasks = _shape(problem), problem.tasks
    episode = _drawn(problem, "validation", 0, 3)
    place = of(tasks, "sample")
    if not isinstance(episode, Episode) or not isinstance(episode.support, list):
        raise Broken(f"{place}: sample must return a maml_bench.Episode whose support is a list of rollouts")
    for name, batches, count in (("support", episode.support, shape.shot), ("query", [episode.query], shape.query)):
        for tensor in leaves(batches):
            if len(tensor.shape) < 2 or len(tensor) != 3 or tensor.shape[1] not in (1, count):  # 1 is for all rollouts
                raise Broken(
                    f"{place}: the {name} has a tensor of the shape {list(tensor.shape)} for 3 tasks with {count} "
                    f"rollouts each, but its shape must begin with [3, {count}]"
                )
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise Broken(f"{place}: the {name} has a number that is not finite before any training")


def nothing_is_drawn_by_rollouts(problem: Problem) -> None:
    """Collecting rollouts draws nothing from torch's global generator."""
    source, meta = _source(problem)
    watch = Watch()
    with torch.random.fork_rng(devices=[]), watch:
        source.draw(meta, "train", 0, 2, key=KEY, shape=_shape(problem))
    for name, place in watch.drawn:
        raise Broken(f"{place}: `{name}` draws from torch's global generator: {_HOW}")


def equal_calls_give_equal_rollouts(problem: Problem) -> None:
    """The same actor collects the same rollouts twice, and other ones with another key in training."""
    place = of(problem.tasks, "sample")
    for split in SPLITS:
        first, second = (leaves(_drawn(problem, split, 0, 2)) for _ in range(2))
        if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)):
            raise Broken(f"{place}: the same actor collects different rollouts in two equal calls: {_HOW}")
    train, other = (leaves(_drawn(problem, "train", 0, 2, key)) for key in (KEY, KEY + 1))
    if all(torch.equal(a, b) for a, b in zip(train, other, strict=True)):
        raise Broken(f"{place}: training rollouts do not depend on `key`, so all seeds would meet the same ones")


def no_task_is_in_two_splits(problem: Problem) -> None:
    """No task of a split is in another one, and the training tasks depend on the seed."""
    tasks = problem.tasks
    if not isinstance(tasks, Control):
        raise Unchecked("the family has no method `draw` of maml_bench.rl.control.Control that returns its tasks")
    rows = {split: tasks.draw(split, 0, TASKS_OF_A_SPLIT, KEY) for split in SPLITS}
    found = {split: {row.numpy().tobytes() for row in drawn} for split, drawn in rows.items()}
    place = of(tasks, "draw")
    for split, drawn in rows.items():
        if drawn.ndim != 2 or len(drawn) != TASKS_OF_A_SPLIT:
            raise Broken(
                f"{place}: draw returned the shape {list(drawn.shape)} for {TASKS_OF_A_SPLIT} tasks of {split}"
            )
    different = len(found["train"])
    if different < TASKS_OF_A_SPLIT:
        raise Unchecked(f"there are only {different} different tasks in {TASKS_OF_A_SPLIT}, so all splits have them")
    for first, second in (SPLITS[:2], SPLITS[1:], SPLITS[::2]):
        if found[first] & found[second]:
            raise Broken(
                f"{place}: the splits {first} and {second} have a task in common: let the tasks depend on `split`"
            )
    if found["train"] & {row.numpy().tobytes() for row in tasks.draw("train", 0, TASKS_OF_A_SPLIT, KEY + 1)}:
        raise Broken(f"{place}: training tasks do not depend on `key`, so all seeds would meet the same ones")


def an_answer_describes_an_action(problem: Problem) -> None:
    """An actor answers to every observation with the outputs of one action, and with one state a step."""
    source, meta = _source(problem)
    tasks, lead = problem.tasks, (2, 3)
    actor = source.actor(meta)
    state = actor.begin([], {}, lead)
    x = torch.zeros(*lead, tasks.inputs())  # type: ignore[attr-defined]
    wanted = [*lead, tasks.outputs()]  # type: ignore[attr-defined]
    with torch.no_grad():
        answer = actor.act(state, x, lambda number: torch.full((*lead, number), 0.5))
    place = of(problem.setup, "act" if actor.remembers else "predict")
    shape = list(answer.outputs.shape)
    if shape != wanted:
        raise Broken(
            f"{place}: for inputs of the shape {list(x.shape)} the outputs have the shape {shape}, but must have "
            f"{wanted}, with the numbers that describe an action"
        )
    if answer.values is not None and list(answer.values.shape) != [*lead]:
        raise Broken(f"{place}: the values have the shape {list(answer.values.shape)}, but must have {[*lead]}")
    before, after = ({name: list(tensor.shape) for name, tensor in one.items()} for one in (state, answer.state))
    if before != after:
        raise Broken(
            f"{place}: the state before a step has the shapes {before} and the one after it {after}, but must have the "
            "same names and shapes"
        )


def scores_are_finite_and_alike(problem: Problem) -> None:
    """A task has one finite score after each number of inner steps, the same in every call and in every batch."""
    steps = (0, problem.recipe.validation.inner_steps) if problem.recipe.validation.inner_steps else (0,)

    def scores(count: int) -> list[list[float]]:
        source, meta = _source(problem)
        return source.scores((meta,), Request("validation", _shape(problem), count, steps, KEY))

    place, found = of(problem.tasks, "score"), scores(3)
    if [len(column) for column in found] != [3] * len(steps):
        raise Broken(f"{place}: score has not one number for each task")
    if not all(math.isfinite(value) for column in found for value in column):
        raise Broken(f"{place}: a score is not finite before any training")
    if scores(3) != found:
        raise Broken(f"{place}: two equal calls give a task different scores: {_HOW}")
    if not math.isclose(found[0][0], scores(1)[0][0], rel_tol=TOLERANCE, abs_tol=TOLERANCE):  # before adaptation
        raise Broken(f"{place}: a task has another score in a batch of tasks than alone")


ACTING_TASKS: dict[str, Callable[[Problem], None]] = {
    "the family says what it is": lambda problem: says_what_it_is(type(problem.tasks)),
    "rollouts have their shape and are finite": rollouts_have_their_shape,
    "nothing is drawn from the global generator": nothing_is_drawn_by_rollouts,
    "equal calls give equal rollouts": equal_calls_give_equal_rollouts,
    "no task is in two splits": no_task_is_in_two_splits,
    "an answer describes an action, with one state a step": an_answer_describes_an_action,
    "a task has one finite score, the same in every call and batch": scores_are_finite_and_alike,
    "the schedules loop and vmap agree": schedules_agree,
    "the gradient is finite and agrees with finite differences": gradient_is_exact,
}
"""The contracts of a family of tasks in which an actor collects the data, in the order in which they are checked."""
ACTING = {
    "outputs have the shape of the targets": "an answer describes an action, with one state a step",
    "a task has the same score in every batch": "a task has one finite score, the same in every call and batch",
}
"""The contracts of a setup that say nothing of rollouts, and those that take their places where somebody acts."""
ACTING_SETUP = {name: holds for name, holds in SETUP.items() if name not in ACTING} | {
    name: ACTING_TASKS[name] for name in ACTING.values()
}
"""The contracts of a setup where it acts."""
ACTING_NETWORK = {
    name: ACTING_TASKS[name]
    for name in (
        "an answer describes an action, with one state a step",
        "a task has one finite score, the same in every call and batch",
        "the schedules loop and vmap agree",
        "the gradient is finite and agrees with finite differences",
    )
}
"""The contracts of a network of a policy."""


def _source(problem: Problem) -> tuple[CollectedEpisodes, Params]:
    """What collects rollouts in a run of the recipe, and the meta-parameters as a run has them."""
    source = build(problem.recipe, 0, "cpu", "vmap").episodes
    assert isinstance(source, CollectedEpisodes)
    return source, {name: p.float() for name, p in problem.meta.items()}


def _shape(problem: Problem) -> Shape:
    """Two rollouts before each inner step at least, and as many to score."""
    return problem.recipe.train.shape._replace(shot=2, query=2)


def _drawn(problem: Problem, split: str, first: int, count: int, key: int = KEY) -> Episode:
    source, meta = _source(problem)
    return source.draw(meta, split, first, count, key=key, shape=_shape(problem))
