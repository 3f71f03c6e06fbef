"""The actors in tasks of reinforcement learning: setups that adapt policies to the rollouts so far, and setups that
carry a memory through them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from maml_bench.core.memory import Answer, Chance, Remembering
from maml_bench.core.outer import tasks_in
from maml_bench.core.setup import Capability, Setup
from maml_bench.engine.execution import Execution
from maml_bench.errors import MamlBenchError
from maml_bench.rl.protocol import Actor
from maml_bench.types import Params

Measure = Callable[[str], AbstractContextManager[None]]
"""A context that keeps the seconds of a block under a name."""


def unmeasured(name: str) -> AbstractContextManager[None]:
    """A context that measures nothing."""
    return nullcontext()


class Actors(Protocol):
    """The functions that acting needs, for a setup under an execution, recorded once and used at every draw."""

    def actor(self, meta: Params, measure: Measure = unmeasured, own: Params | None = None) -> Actor:
        """The actor at meta-parameters ``meta``; ``measure`` keeps the seconds of a block under a name.

        With ``own [B, ...]``, each of B tasks starts from meta-parameters of its own.
        """
        ...


def actors(setup: Setup, execution: Execution, *, lengths_vary: bool) -> Actors:
    """The actors of ``setup``.

    Args:
        setup: the method.
        execution: the schedule, the device and the learner.
        lengths_vary: whether rollouts differ in length from draw to draw. A recording holds for one length only, so the
            inner steps are then not recorded.
    """
    if isinstance(setup, Remembering):
        return Memories(setup, execution)
    return Policies(setup, execution, lengths_vary=lengths_vary)


class Policies:
    """The `Actors` of a setup that learns by gradients."""

    def __init__(self, setup: Setup, execution: Execution, *, lengths_vary: bool) -> None:
        learner, over_tasks = execution.learner, execution.over_tasks

        def adapt(meta: Params, path: list[Any]) -> Params:
            return over_tasks(lambda path: setup.states(learner, meta, path, len(path))[-1], path)  # type: ignore[no-any-return]

        def answer(meta: Params, states: Params, x: Tensor) -> Tensor:
            return over_tasks(lambda task: setup.predict(learner, meta, *task), (states, x))  # type: ignore[no-any-return]

        def shared(meta: Params, x: Tensor) -> Tensor:
            return setup.predict(learner, meta, setup.states(learner, meta, [], 0)[0], x)

        def adapt_own(own: Params, path: list[Any]) -> Params:
            return over_tasks(  # type: ignore[no-any-return]
                lambda task: setup.states(learner, task[0], task[1], len(path))[-1], (own, path)
            )

        self.adapt = torch.no_grad()(adapt) if lengths_vary else execution.record(adapt)
        self.adapt_own = torch.no_grad()(adapt_own)
        self.answer, self.shared = execution.record(answer), execution.record(shared)
        self._steps = learner.inner.steps

    def actor(self, meta: Params, measure: Measure = unmeasured, own: Params | None = None) -> "PolicyActor":
        return PolicyActor(self, meta, self._steps, measure, own)


class PolicyActor:
    """A setup that acts by adapted policies, at given meta-parameters; see rl.protocol.Actor."""

    remembers = False
    expects = False
    expects_mean_reward = False

    def __init__(
        self, functions: Policies, meta: Params, steps: int, measure: Measure, own: Params | None = None
    ) -> None:
        self._functions, self._meta, self._own = functions, meta, own
        self.steps, self.measure = steps, measure

    def begin(self, path: Sequence[Any], state: Params, trials: tuple[int, int]) -> Params:
        if self._own is not None:
            return self._functions.adapt_own(self._own, list(path))
        return self._functions.adapt(self._meta, list(path)) if path and tasks_in(path[0]) else {}

    def act(self, state: Params, x: Tensor, chance: Chance) -> Answer:
        outputs = self._functions.answer(self._meta, state, x) if state else self._functions.shared(self._meta, x)
        return Answer(outputs, None, state)


class Memories:
    """The `Actors` of a setup with a memory. Only what is trained is recorded: other agents may draw numbers."""

    def __init__(self, setup: Remembering, execution: Execution) -> None:
        learner, trains = execution.learner, Capability.TRAINS in setup.capabilities

        def start(meta: Params, trials: tuple[int, int]) -> Params:
            return setup.start(learner, meta, trials)

        def act(meta: Params, memory: Params, x: Tensor) -> Answer:
            return setup.act(learner, meta, memory, x, _no_chance)

        def draw_and_act(meta: Params, memory: Params, x: Tensor, chance: Chance) -> Answer:
            return setup.act(learner, meta, memory, x, chance)

        recorded = execution.record(act)
        self.start = torch.no_grad()(start)
        self.act: Callable[[Params, Params, Tensor, Chance], Answer]
        self.act = (
            (lambda meta, memory, x, chance: recorded(meta, memory, x)) if trains else torch.no_grad()(draw_and_act)
        )
        self.expects, self.expects_mean_reward = setup.expects(), setup.expects_mean_reward()
        self._steps = learner.inner.steps

    def actor(self, meta: Params, measure: Measure = unmeasured, own: Params | None = None) -> "MemoryActor":
        return MemoryActor(self, meta, self._steps, measure)


class MemoryActor:
    """A setup that acts by a memory, at given meta-parameters; see rl.protocol.Actor."""

    remembers = True

    def __init__(self, functions: Memories, meta: Params, steps: int, measure: Measure) -> None:
        self._functions, self._meta = functions, meta
        self.steps, self.measure = steps, measure
        self.expects, self.expects_mean_reward = functions.expects, functions.expects_mean_reward

    def begin(self, path: Sequence[Any], state: Params, trials: tuple[int, int]) -> Params:
        return state if path else self._functions.start(self._meta, trials)

    def act(self, state: Params, x: Tensor, chance: Chance) -> Answer:
        return self._functions.act(self._meta, state, x, chance)


def _no_chance(number: int) -> NoReturn:
    raise MamlBenchError("a setup that is trained draws no random numbers when it acts: its outputs say what is drawn")
