"""The contracts of a family of tasks, and of a network."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maml_bench import own_code, registry
from maml_bench.contracts.checks import Broken, gradient_is_exact, of, schedules_agree
from maml_bench.contracts.problem import Problem
from maml_bench.contracts.watching import Watch
from maml_bench.core.outer import take
from maml_bench.harness.outputs import refuse_wrong_outputs
from maml_bench.record import Metric
from maml_bench.trees import leaves
from maml_bench.types import Batch, Episode

SPLITS = ("train", "validation", "test")
COUNT = 6
KEY = 12_345


def says_what_it_is(cls: Any) -> None:
    """A family of tasks has a name, a metric, a version and an option that says how its network normalises."""
    place = own_code.place_of(cls)
    if not isinstance(cls.name, str) or not cls.name:
        raise Broken(f"{place}: `name` of {cls.__name__} must be a text, such as {registry.TASKS_MEMBERS['name']!r}")
    if not isinstance(cls.metric, Metric) or not isinstance(cls.version, int) or cls.version < 1:
        raise Broken(f"{place}: `metric` must be a Metric, and `version` a whole number of at least 1")
    if not isinstance(cls.normalisation, str):
        raise Broken(f"{place}: `normalisation` must be a field with a default, such as `normalisation: str = 'none'`")


def episodes_have_their_shape(problem: Problem) -> None:
    """An episode has a support and a query, each a Batch ``[tasks, way * shot, ...]``."""
    way, shot, query = shape = problem.recipe.train.shape
    place = of(problem.tasks, "sample")
    episode = problem.tasks.sample("train", 0, 3, key=KEY, shape=shape)
    if not isinstance(episode, Episode):
        raise Broken(f"{place}: sample returned a {type(episode).__name__}, but must return a maml_bench.Episode")
    for name, batch, count in (("support", episode.support, way * shot), ("query", episode.query, way * query)):
        if not isinstance(batch, Batch):
            raise Broken(f"{place}: the {name} is a {type(batch).__name__}, but must be a maml_bench.Batch of x and y")
        for axis, tensor in zip("xy", batch, strict=True):
            if not isinstance(tensor, Tensor) or tuple(tensor.shape[:2]) != (3, count):
                raise Broken(
                    f"{place}: {name}.{axis} has the shape {list(getattr(tensor, 'shape', ()))} for 3 episodes of "
                    f"{way} way and {count // way} {name} examples a class, but must begin with [3, {count}]"
                )
        if not batch.x.is_floating_point() or batch.y.dtype not in (torch.int64, torch.float32):
            raise Broken(
                f"{place}: {name} has x of {batch.x.dtype} and y of {batch.y.dtype}, but x must be float32, and y "
                "int64 for classes or float32"
            )
        if batch.y.dtype == torch.int64 and problem.tasks.metric.name == "accuracy":
            least, most = int(batch.y.min()), int(batch.y.max())
            if least < 0 or most >= way:
                raise Broken(f"{place}: labels go from {least} to {most}, but must be from 0 to {way - 1}")


def equal_calls_give_equal_episodes(problem: Problem) -> None:
    """Two equal calls return equal episodes, in this process and in another one."""
    place = of(problem.tasks, "sample")
    for split in SPLITS:
        if not _equal(_sample(problem, split), _sample(problem, split)):
            raise Broken(f"{place}: two equal calls of sample return different episodes: {_HOW}")
    if "file" in problem.recipe.tasks and _digest(problem) != _digest_elsewhere(problem):
        raise Broken(
            f"{place}: equal calls of sample in two processes return different episodes (Python's `hash` of a text, "
            f"for one, differs from process to process): {_HOW}"
        )


def a_batch_equals_single_episodes(problem: Problem) -> None:
    """Episode k is the same in every batch, and differs from other episodes, keys and splits."""
    place = of(problem.tasks, "sample")
    for split in SPLITS:
        whole = _sample(problem, split)
        for k in (0, COUNT - 1):
            one = problem.tasks.sample(split, k, 1, key=KEY, shape=problem.recipe.train.shape)
            if not _equal(take(whole, slice(k, k + 1)), one):
                raise Broken(f"{place}: episode {k} of a batch is another one than episode {k} alone: {_HOW}")
        if _equal(take(whole, 0), take(whole, 1)):
            raise Broken(f"{place}: episodes 0 and 1 of the split {split} are equal: let them depend on their number")
    train = _sample(problem, "train")
    if _equal(train, _sample(problem, "train", KEY + 1)):
        raise Broken(f"{place}: training episodes do not depend on `key`, so all seeds would meet the same ones")


def nothing_is_drawn_by_sample(problem: Problem) -> None:
    """``sample`` draws nothing from torch's global generator."""
    watch = Watch()
    with torch.random.fork_rng(devices=[]), watch:
        _sample(problem, "train")
    for name, place in watch.drawn:
        raise Broken(f"{place}: `{name}` draws from torch's global generator: {_HOW}")


def splits_share_nothing(problem: Problem) -> None:
    """No example is in two splits, so that no class can be in two either."""
    seen: dict[bytes, str] = {}
    for split in SPLITS:
        episode = _sample(problem, split)
        for batch in (episode.support, episode.query):
            pairs = zip(batch.x.flatten(0, 1), batch.y.flatten(0, 1), strict=True)
            for x, y in pairs:
                content = [x] if problem.tasks.metric.name == "accuracy" else [x, y]
                if float(x.std(correction=0)) == 0 and x.numel() > 1:
                    continue  # an empty picture says nothing
                one = hashlib.sha256(b"".join(_bytes(part) for part in content)).digest()
                if seen.setdefault(one, split) != split:
                    raise Broken(
                        f"{of(problem.tasks, 'sample')}: the splits {seen[one]} and {split} have an example in common: "
                        "let each split draw from classes or tasks of its own"
                    )


def losses_are_numbers(problem: Problem) -> None:
    """``loss`` and ``score`` of one task are finite scalars."""
    batch = take(problem.episodes.query, 0)
    for name in ("loss", "score"):
        found = getattr(problem.tasks, name)(lambda x: problem.learner.apply(problem.meta, x), batch)
        place = of(problem.tasks, name)
        if not isinstance(found, Tensor) or found.shape != ():
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise Broken(f"{place}: {name} returned {shape}, but must return a tensor with one number")
        if not bool(found.isfinite()):
            raise Broken(f"{place}: {name} is {float(found):g} before any training")


def network_fits(problem: Problem) -> None:
    """The network returns one output for each target, or one for each class of it."""
    batch = take(problem.episodes.query, 0)
    outputs = problem.learner.apply(problem.meta, batch.x)
    place = own_code.place_of(type(problem.learner.model))
    refuse_wrong_outputs(outputs, batch, problem.learner.way, place, "the network")


TASKS: dict[str, Callable[[Problem], None]] = {
    "the family says what it is": lambda problem: says_what_it_is(type(problem.tasks)),
    "episodes have their shape": episodes_have_their_shape,
    "nothing is drawn from the global generator": nothing_is_drawn_by_sample,
    "equal calls give equal episodes": equal_calls_give_equal_episodes,
    "a batch of episodes equals single ones": a_batch_equals_single_episodes,
    "no example is in two splits": splits_share_nothing,
    "the network fits the targets": network_fits,
    "loss and score are finite numbers": losses_are_numbers,
    "the schedules loop and vmap agree": schedules_agree,
    "the gradient is finite and agrees with finite differences": gradient_is_exact,
}
"""The contracts of a family of tasks, in the order in which they are checked."""
NETWORK: dict[str, Callable[[Problem], None]] = {
    key: TASKS[key]
    for key in (
        "the network fits the targets",
        "the schedules loop and vmap agree",
        "the gradient is finite and agrees with finite differences",
    )
}
"""The contracts of a network."""
_HOW = (
    "draw from `torch.Generator().manual_seed(...)` or from maml_bench.data.draws, with a seed that is made of key, "
    "split and the number of the episode alone"
)


def _sample(problem: Problem, split: str, key: int = KEY) -> Episode:
    return problem.tasks.sample(split, 0, COUNT, key=key, shape=problem.recipe.train.shape)


def _equal(first: Any, second: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(leaves(first), leaves(second), strict=True))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def _digest(problem: Problem) -> str:
    return digest(problem.recipe.tasks, problem.recipe.train.shape)


def digest(table: Mapping[str, Any], shape: Any) -> str:
    """The hash of the first episodes of each split of a family."""
    tasks = registry.build_tasks(table, "check")
    found = [tasks.sample(split, 0, COUNT, key=KEY, shape=shape) for split in SPLITS]
    return hashlib.sha256(b"".join(map(_bytes, leaves(found)))).hexdigest()


def _digest_elsewhere(problem: Problem) -> str:
    """The same in another process, in which Python hashes texts in another way."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "digest")
        code = (
            "from pathlib import Path; from maml_bench.contracts.of_tasks import digest; from maml_bench import Shape; "
            f"Path({str(place)!r}).write_text(digest({dict(problem.recipe.tasks)!r}, {problem.recipe.train.shape!r}))"
        )
        path = os.pathsep.join([str(Path(own_code.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        subprocess.run(
            [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": path}
        )
        return place.read_text()
