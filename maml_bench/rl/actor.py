"""Who acts in tasks whose data depend on it: the policies that a setup makes of what it has seen so far."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from maml_bench.core.outer import tasks_in
from maml_bench.types import Params


class Unstable(ArithmeticError):
    """Physics or a policy left the finite numbers: the run has diverged."""


class Actor:
    """The policies of a setup at given meta-parameters.

    Args:
        meta: meta-parameters.
        adapt: ``adapt(meta, path)``, the state of every task ``[B, ...]`` after an inner step on each of ``path``.
        answer: ``answer(meta, states, x [B, ...])``, outputs of every task's state.
        shared: ``shared(meta, x)``, outputs before any inner step, alike for all tasks.
        steps: how many inner steps training takes.
        measure: what keeps the seconds of a block under a name.
    """

    def __init__(
        self,
        meta: Params,
        *,
        adapt: Callable[[Params, Any], Params],
        answer: Callable[[Params, Params, Tensor], Tensor],
        shared: Callable[[Params, Tensor], Tensor],
        steps: int,
        measure: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
    ) -> None:
        self._meta, self._adapt, self._answer, self._shared = meta, adapt, answer, shared
        self.steps = steps
        self.measure = measure

    def policies(self, path: Sequence[Any]) -> Params | None:
        """The policy of every task ``[B, ...]`` after an inner step on each of ``path``; None where all share one."""
        return self._adapt(self._meta, list(path)) if path and tasks_in(path[0]) else None

    def outputs(self, policies: Params | None, x: Tensor) -> Tensor:
        """What the policies put out for observations ``x [B, ...]``."""
        return self._shared(self._meta, x) if policies is None else self._answer(self._meta, policies, x)
