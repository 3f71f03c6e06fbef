"""What ``adapt`` must return, and which of it evaluation keeps."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from maml_bench.core.evaluate import evaluate
from maml_bench.core.inner import SGD
from maml_bench.core.learner import Learner
from maml_bench.core.outer import meta_gradient, take
from maml_bench.core.setup import Setup
from maml_bench.engine.meta_step import MetaStep
from maml_bench.engine.scoring import Scorer
from maml_bench.errors import MamlBenchError
from maml_bench.setups.maml import MAML
from maml_bench.types import Params
from tests.core.conftest import Make
from tests.engine.test_meta_step import SETUPS

STEPS = (0, 1, 3)


def as_made_by(change: Callable[[list[Params]], Any], keys: frozenset[str] = MAML.inner_keys) -> Setup:
    class Mine(MAML):
        inner_keys = keys

        def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
            return change(super().adapt(learner, meta, support, steps))

    return Mine()


WRONG: dict[str, tuple[Callable[[list[Params]], Any], str]] = {
    "the last": (lambda path: path[-1:], "a list of 1 with steps=3"),
    "all but the first": (lambda path: path[1:], "a list of 3"),
    "one too many": (lambda path: [*path, path[-1]], "a list of 5"),
    "none": (lambda path: [], "a list of 0"),
    "no list": (lambda path: path[-1], "a dict"),
    "nothing": (lambda path: None, "a NoneType"),
}


@pytest.mark.parametrize("schedule", ["loop", "vmap", "traced"])
@pytest.mark.parametrize("wrong", WRONG)
def test_another_number_of_states_is_a_sentence_at_the_first_call(regression: Make, wrong: str, schedule: str) -> None:
    learner, meta, episodes = regression(steps=3)
    change, words = WRONG[wrong]
    setup = as_made_by(change)
    step = MetaStep(setup, learner, schedule=schedule)
    sentence = f"adapt of the setup Mine returned {words}.*4 in all"
    with pytest.raises(MamlBenchError, match=sentence):
        Scorer(setup, step.execution).scores(meta, episodes, STEPS)
    with pytest.raises(MamlBenchError, match=sentence):
        step.gradient(meta, episodes)


def test_one_state_is_right_where_steps_change_nothing(regression: Make) -> None:
    learner, meta, episodes = regression(steps=3)
    setup = as_made_by(lambda path: path[:1], frozenset({"rate"}))
    found = evaluate(setup, learner, meta, episodes, STEPS)
    assert torch.equal(found, found[:, :1].expand(-1, 3))
    meta_gradient(setup, learner, meta, episodes)


@pytest.mark.parametrize("name", [name for name in SETUPS if name != "oracle"])
def test_evaluation_keeps_only_the_states_that_are_scored(regression: Make, name: str) -> None:
    learner, _, episodes = regression(steps=2)
    setup = SETUPS[name]
    meta = setup.init(learner, torch.Generator().manual_seed(0))
    support = take(episodes.support, 0)
    every = setup.adapt(learner, meta, support, 5)
    some = setup.adapt(learner.keeping((1, 3)), meta, support, 5)
    assert [steps for steps, state in enumerate(some) if state] == [1, 3, 5]
    for steps in (1, 3, 5):
        assert all(torch.equal(some[steps][name], p) for name, p in every[steps].items())


def test_each_number_of_steps_has_the_score_that_it_has_alone(regression: Make) -> None:
    learner, meta, episodes = regression()
    found = evaluate(MAML(), learner, meta, episodes, (3, 0, 2))
    alone = [evaluate(MAML(), learner, meta, episodes, (steps,)) for steps in (3, 0, 2)]
    torch.testing.assert_close(found, torch.cat(alone, 1), rtol=1e-12, atol=0)


def test_memory_does_not_grow_with_the_inner_steps(regression: Make) -> None:
    """Parameters of one task that are alive at the end of the inner loop: those that are asked for, not all."""
    learner, meta, episodes = regression()
    alive: list[weakref.ref[Tensor]] = []

    class Watched(MAML):
        def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
            path = learner.adapt(meta, support, Watching(alive), steps)
            gc.collect()
            counts.append(sum(one() is not None for one in alive))
            return path

    counts: list[int] = []
    for steps in (4, 40):
        alive.clear()
        evaluate(Watched(), learner, meta, take(episodes, slice(0, 1)), (steps,), schedule_name="loop")
    assert counts[0] == counts[1]


class Watching(SGD):
    """SGD that remembers weakly what it made."""

    def __init__(self, alive: list["weakref.ref[Tensor]"]) -> None:
        super().__init__(0.1)
        object.__setattr__(self, "alive", alive)

    def __call__(self, step: Any, params: Params, grads: Params, state: None) -> tuple[Params, None]:
        moved, state = super().__call__(step, params, grads, state)
        self.alive.extend(weakref.ref(p) for p in moved.values())
        return moved, state
