"""The actor in tasks of reinforcement learning: the policies that a setup adapts to the rollouts so far."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from maml_bench.core.outer import tasks_in
from maml_bench.core.setup import Setup
from maml_bench.engine.execution import Execution
from maml_bench.types import Params


class Policies:
    """The functions that acting needs, for a setup under an execution. They are recorded once and used at every draw.

    Args:
        setup: the method.
        execution: the schedule, the device and the learner.
        lengths_vary: whether rollouts differ in length from draw to draw. A recording holds for one length only, so the
            inner steps are then not recorded.
    """

    def __init__(self, setup: Setup, execution: Execution, *, lengths_vary: bool) -> None:
        learner, over_tasks = execution.learner, execution.over_tasks

        def adapt(meta: Params, path: list[Any]) -> Params:
            return over_tasks(lambda path: setup.adapt(learner, meta, path, len(path))[-1], path)  # type: ignore[no-any-return]

        def answer(meta: Params, states: Params, x: Tensor) -> Tensor:
            return over_tasks(lambda task: setup.predict(learner, meta, *task), (states, x))  # type: ignore[no-any-return]

        def shared(meta: Params, x: Tensor) -> Tensor:
            return setup.predict(learner, meta, setup.adapt(learner, meta, [], 0)[0], x)

        def adapt_own(own: Params, path: list[Any]) -> Params:
            return over_tasks(  # type: ignore[no-any-return]
                lambda task: setup.adapt(learner, task[0], task[1], len(path))[-1], (own, path)
            )

        self.adapt = torch.no_grad()(adapt) if lengths_vary else execution.record(adapt)
        self.adapt_own = torch.no_grad()(adapt_own)
        self.answer, self.shared = execution.record(answer), execution.record(shared)
        self._steps = learner.inner.steps

    def actor(
        self,
        meta: Params,
        measure: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
        own: Params | None = None,
    ) -> "SetupActor":
        """The actor at meta-parameters ``meta``; ``measure`` keeps the seconds of a block under a name.

        With ``own [B, ...]``, each of B tasks starts from meta-parameters of its own.
        """
        return SetupActor(self, meta, self._steps, measure, own)


class SetupActor:
    """A setup that acts at given meta-parameters; see rl.protocol.Actor."""

    def __init__(
        self,
        functions: Policies,
        meta: Params,
        steps: int,
        measure: Callable[[str], AbstractContextManager[None]],
        own: Params | None = None,
    ) -> None:
        self._functions, self._meta, self._own = functions, meta, own
        self.steps, self.measure = steps, measure

    def policies(self, path: Sequence[Any]) -> Params | None:
        """The policy of every task ``[B, ...]`` after an inner step on each of ``path``; None where all share one."""
        if self._own is not None:
            return self._functions.adapt_own(self._own, list(path))
        return self._functions.adapt(self._meta, list(path)) if path and tasks_in(path[0]) else None

    def outputs(self, policies: Params | None, x: Tensor) -> Tensor:
        """The outputs of the policies for observations ``x [B, ...]``."""
        if policies is None:
            return self._functions.shared(self._meta, x)  # type: ignore[no-any-return]
        return self._functions.answer(self._meta, policies, x)  # type: ignore[no-any-return]
