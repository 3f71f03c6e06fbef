"""What the processes of a team do that no command shows. ``torchrun -m`` starts it, and `test_torchrun` reads its file.

Every case trains in float64, once by this process alone and once by all of them, from the same start on the same tasks.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maml_bench.core.outer import meta_gradient
from maml_bench.errors import Lost, MamlBenchError
from maml_bench.harness import loop, together
from maml_bench.harness.build import build
from maml_bench.harness.executors.job import Job
from maml_bench.harness.executors.torchrun import Torchrun, take_part
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import Options
from maml_bench.harness.run_state import RunState, Silent
from maml_bench.harness.team import FailedElsewhere, Team, team
from maml_bench.trees import leaves, tree_map

SINUSOIDS = ("sinusoid-k10", "outer.meta_batch=25")
IMAGES = ("images-5w1s:birds", "tasks.conv.filters=4", "train.query=1", "outer.meta_batch=3", "outer.optimiser=sgd")
CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "maml-traced": ("maml", "traced", SINUSOIDS),
    "maml-loop": ("maml", "loop", (SINUSOIDS[0], "outer.meta_batch=5", "inner.steps=2")),
    "maml-bounded": ("maml", "vmap", (*SINUSOIDS, "outer.clip=0.01", "outer.norm=0.02", "outer.repeats=2")),
    "fomaml": ("fomaml", "vmap", (*SINUSOIDS, "outer.optimiser=rmsprop")),
    "meta_sgd": ("meta_sgd", "vmap", SINUSOIDS),
    "imaml": ("imaml", "vmap", (SINUSOIDS[0], "outer.meta_batch=4", "inner.steps=2")),
    "maml-images": ("maml", "vmap", (*IMAGES, "inner.steps=1")),
    "protonet-images": ("protonet", "vmap", IMAGES),
    "reptile-images": ("reptile", "vmap", (*IMAGES, "inner.steps=2")),
}
"""Setup, schedule, and the recipe with its settings. Most meta-batches cannot be halved."""
SHORT = ("outer.steps=3", "validation.episodes=0")
WHOLE = (
    "outer.steps=200",
    "outer.meta_batch=5",
    "validation.episodes=3",
    "validation.every=20",
    'test=[{protocol="paper", split="test", way=1, shot=5, query=5, episodes=6, inner_steps=[0, 2]}]',
)
"""A run that the processes make from the start to its record, in single precision."""
DIVERGING = (*WHOLE, "outer.optimiser=sgd", "outer.rate=1000000")


def main() -> None:
    them = team()
    assert them is not None
    torch.set_num_threads(1)
    found = {name: differences(them, *case) for name, case in CASES.items()}
    found |= {"errors": [failing(them, rank) for rank in (0, 1)], "drawing": drawing(them)}
    found["agreed"] = [them.agreed(wanted) for wanted in (them.leads, not them.leads)]
    everybody = them._from_all(found)
    make_runs(them, Path(sys.argv[2]))
    found["lost"] = lost(them)
    if them.leads:
        Path(sys.argv[1]).write_text(json.dumps([found, everybody[1]]), encoding="utf-8")


def in_float64(run: RunState) -> RunState:
    """The run with all its numbers in double precision."""
    draw = run.episodes.draw

    def exact(*arguments: Any, **options: Any) -> Any:
        return tree_map(lambda t: t.double() if t.is_floating_point() else t, draw(*arguments, **options))

    run.episodes.draw = exact  # type: ignore[method-assign]
    run.learner.model.double()
    run.meta = {name: p.double() for name, p in run.meta.items()}
    run.optimiser = run.meta_step.init(run.meta)
    return run


def differences(them: Team, setup: str, schedule: str, recipe: tuple[str, ...]) -> dict[str, float]:
    """The largest differences of this process alone from all of them together: of the first meta-gradient, of the loss
    of each step, and of what is there after the last step."""
    resolved = resolve(recipe[0], preset="smoke", setup=setup, settings=(*recipe[1:], *SHORT))
    one = in_float64(build(resolved, 0, "cpu", schedule))
    several = in_float64(build(resolved, 0, "cpu", schedule, team=them))
    count, share = resolved.outer.meta_batch, several.share
    drawn = [
        run.episodes.draw(run.meta, "train", tasks.start, len(tasks), key=5, shape=resolved.train.shape)
        for run, tasks in ((one, range(count)), (several, share))
    ]
    alone = meta_gradient(one.setup, one.learner.at_step(0), one.meta, drawn[0])
    joined = them.mean(count, several.meta, partial(several.meta_step.gradient, several.meta, drawn[1]))
    start = one.meta
    losses: list[list[float]] = []
    for run, train in ((one, loop.train), (several, together.train)):
        heard = Losses()
        train(run, heard, lambda: False, lambda: None)
        losses.append(heard.losses)
    return {
        "gradient": apart(alone[0], joined[0]),
        "size of the gradient": max(float(g.abs().max()) for g in alone[0].values()),
        "losses of tasks": apart(alone[1], joined[1]),
        "losses of steps": max(abs(a - b) for a, b in zip(*losses, strict=True)),
        "meta-parameters": apart(one.meta, several.meta),
        "optimiser": apart(one.optimiser, several.optimiser),
        "way that was gone": apart(one.meta, start),
        "another process": apart(several.meta, them._from_first(several.meta)),
        "tasks": len(share),
    }


class Losses(Silent):
    """An observer that keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def stepped(self, step: int, loss: float) -> None:
        self.losses.append(loss)


def apart(one: Any, other: Any) -> float:
    """The largest difference of two trees of tensors, in absolute value."""
    pairs = list(zip(leaves(one), leaves(other), strict=True))
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return max((float((a - b).abs().max()) for a, b in pairs), default=0.0)


META = {"a": torch.zeros(3, dtype=torch.float64)}


def failing(them: Team, rank: int) -> str:
    """What each process hears if one of them fails in a step."""

    def own() -> tuple[dict[str, Tensor], Tensor]:
        if them.place.rank == rank:
            raise ArithmeticError("no number")
        return META, torch.zeros(len(them.share(3)), dtype=torch.float64)

    try:
        them.mean(3, META, own)
    except (ArithmeticError, FailedElsewhere) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def drawing(them: Team) -> str:
    """What each process hears if one of them draws random numbers in a step."""

    def own() -> tuple[dict[str, Tensor], Tensor]:
        tasks = len(them.share(3))
        return META, torch.rand(tasks, dtype=torch.float64) if them.leads else torch.zeros(tasks)

    try:
        them.mean(3, META, own)
    except MamlBenchError as error:
        return str(error)
    return "nothing"


def make_runs(them: Team, results: Path) -> None:
    """Make a run of each of WHOLE and DIVERGING."""
    for settings in (WHOLE, DIVERGING):
        if not them.leads:
            take_part(them.next_job(), them)
            continue
        job = Job(resolve("sinusoid-k10", preset="smoke", settings=settings), 0, Options(results, **ON_ONE_THREAD))
        (ended,) = Torchrun(them).run([job], lambda job: Silent(), lambda: False)
        assert ended.error is None


ON_ONE_THREAD: dict[str, Any] = {"threads": 1, "schedule": "vmap"}


def lost(them: Team) -> list[str]:
    """What the first process hears if the other one ends, and if it speaks to it again."""
    if not them.leads:
        return []
    heard = []
    for _ in range(2):
        try:
            them.agreed(False)
        except Lost as error:
            heard.append(str(error))
    return heard


if __name__ == "__main__":
    main()
