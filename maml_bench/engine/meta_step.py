"""One meta-step as a whole, the meta-gradient and the outer optimiser, under any schedule."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from maml_bench.core import outer
from maml_bench.core.inner import SGD, Adam, RMSProp, Update
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Setup
from maml_bench.engine.execution import Execution
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.types import Episode, Params

OPTIMISERS: dict[str, Callable[..., Update]] = {"adam": Adam, "sgd": SGD, "rmsprop": RMSProp}

Together = Callable[[Params, Callable[[], tuple[Params, Tensor]]], tuple[Params, Tensor]]
"""From meta-parameters, and a function that returns the gradient and losses of this process's tasks, to the mean
gradient and the losses of the tasks of all processes."""


class MetaStep:
    """The body of the outer loop as a function: ``step(meta, state, episodes, number, rate) -> (meta, state, losses)``.

    Args:
        setup: the method.
        learner: the network and its losses.
        optimiser: the outer optimiser, a key of OPTIMISERS.
        clip: the bound of each entry of the meta-gradient; 0 for none.
        norm: the bound of the length of the whole meta-gradient; 0 for none.
        schedule: one of engine.execution.SCHEDULES.
        chunk: how many tasks are differentiated at once; a smaller number needs less memory. None for all.
        device: where the tensors will be.
        repeats: how many steps of the outer optimiser are taken on the same episodes.
        constants: further fields of the optimiser, by name.
        together: joins the gradients of several processes, each of which has a part of the tasks. Every process then
            takes the same step. None for one process.

    Attributes:
        execution: the schedule, the device, and the learner prepared for them.

    Raises:
        MamlBenchError: there is no such schedule or optimiser.
        NoCompiler: the schedule is ``compiled``, the device is a CPU, and the machine has no C++ compiler.
    """

    def __init__(
        self,
        setup: Setup,
        learner: Learner,
        *,
        optimiser: str = "adam",
        clip: float = 0.0,
        norm: float = 0.0,
        schedule: str = "vmap",
        chunk: int | None = None,
        device: str = "cpu",
        repeats: int = 1,
        constants: Mapping[str, float] | None = None,
        together: Together | None = None,
    ) -> None:
        if optimiser not in OPTIMISERS:
            raise MamlBenchError(f"no outer optimiser {optimiser!r}{nearest(optimiser, OPTIMISERS)}")
        self.execution = Execution(learner, schedule, device)
        self._setup, self._clip, self._norm = setup, clip, norm
        self._optimiser = partial(OPTIMISERS[optimiser], **(constants or {}))
        self._chunk, self._repeats, self._together = chunk, repeats, together
        self._run = self.execution.record(self._step, compile=True)
        self._gradient = self.execution.record(self._meta_gradient, compile=True)
        self._follow = self.execution.record(self._descend, compile=True)

    def init(self, meta: Params) -> Any:
        """The state of the outer optimiser before the first step."""
        return self._optimiser(0.0).init(self.execution.laid_out(meta))

    def __call__(
        self, meta: Params, state: Any, episodes: Episode, number: int, rate: float
    ) -> tuple[Params, Any, Tensor]:
        """Meta-parameters and state after meta-step ``number`` (from 0) at ``rate``, and the outer losses ``[B]``.

        Several processes each give their part of the ``episodes``, and get the losses of all of them.
        """
        meta, before = self.execution.laid_out(meta), []
        for taken in range(number * self._repeats, (number + 1) * self._repeats):
            numbers: Any = (number, taken, rate)
            numbers = self._scalars(meta, *numbers) if self.execution.recorded else numbers
            if self._together is None:
                meta, state, losses = self._run(meta, state, episodes, *numbers)
            else:
                own = partial(self._gradient, meta, episodes, numbers[0])
                gradient, losses = self._together(meta, own)
                meta, state = self._follow(meta, state, gradient, *numbers[1:])
            before.append(losses)
        return meta, state, before[0]

    def gradient(self, meta: Params, episodes: Episode, number: int = 0) -> tuple[Params, Tensor]:
        """The meta-gradient of meta-step ``number`` before it is clipped, and the outer losses ``[B]``."""
        at = self._scalars(meta, number) if self.execution.recorded else (number,)
        return self._gradient(self.execution.laid_out(meta), episodes, *at)  # type: ignore[no-any-return]

    def _scalars(self, meta: Params, *numbers: float) -> tuple[Tensor, ...]:
        """Numbers that change from step to step as tensors: a recording would keep plain numbers as constants."""
        return torch.tensor(numbers, dtype=torch.float64, device=next(iter(meta.values())).device).unbind()

    def _meta_gradient(self, meta: Params, episodes: Episode, number: Any) -> tuple[Params, Tensor]:
        learner = self.execution.learner.at_step(number)
        mapping = self.execution.mapping
        return outer.meta_gradient(self._setup, learner, meta, episodes, schedule_name=mapping, chunk=self._chunk)

    def _step(
        self, meta: Params, state: Any, episodes: Episode, number: Any, taken: Any, rate: Any
    ) -> tuple[Params, Any, Tensor]:
        """One step of the outer optimiser, which has taken ``taken`` steps before."""
        gradient, losses = self._meta_gradient(meta, episodes, number)
        return *self._descend(meta, state, gradient, taken, rate), losses

    def _descend(self, meta: Params, state: Any, gradient: Params, taken: Any, rate: Any) -> tuple[Params, Any]:
        """Follow a meta-gradient, bounded as the recipe says, with the outer optimiser."""
        if self._clip:
            gradient = {name: g.clamp(-self._clip, self._clip) for name, g in gradient.items()}
        if self._norm:
            length = torch.stack([g.square().sum() for g in gradient.values()]).sum().sqrt()
            gradient = {name: g * (self._norm / length.clamp(min=self._norm)) for name, g in gradient.items()}
        return self._optimiser(rate)(taken, meta, gradient, state)
