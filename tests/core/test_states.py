"""What ``adapt`` must return, and which of it evaluation keeps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from maml_bench.core.evaluate import evaluate
from maml_bench.core.learner import Learner
from maml_bench.core.outer import meta_gradient
from maml_bench.core.setup import Setup
from maml_bench.engine.meta_step import MetaStep
from maml_bench.engine.scoring import Scorer
from maml_bench.errors import MamlBenchError
from maml_bench.setups.maml import MAML
from maml_bench.types import Params
from tests.core.conftest import Make

STEPS = (0, 1, 3)


def as_made_by(change: Callable[[list[Params]], Any], keys: frozenset[str] = MAML.inner_keys) -> Setup:
    class Mine(MAML):
        inner_keys = keys

        def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
            return change(super().adapt(learner, meta, support, steps))

    return Mine()


WRONG: dict[str, tuple[Callable[[list[Params]], Any], str]] = {
    "the last": (lambda path: path[-1:], "1 states for 3 inner steps"),
    "all but the first": (lambda path: path[1:], "3 states"),
    "one too many": (lambda path: [*path, path[-1]], "5 states"),
    "none": (lambda path: [], "0 states"),
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
    sentence = f"adapt of the setup Mine returned {words}.*must return a list of 4 states"
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
