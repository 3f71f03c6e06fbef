"""How the functions of a run are executed: task by task, all tasks at once, recorded, or compiled.

``loop`` and ``vmap`` run operation by operation. ``traced`` records a function once as a flat program, in which the
convolution blocks of the network run on kernels of our own; on a GPU the program is one CUDA graph. ``compiled`` takes
the same recording through torch.compile.
"""

from collections.abc import Callable
from typing import Any

import torch

from maml_bench.core import outer
from maml_bench.core.learner import Learner
from maml_bench.core.setup import OverTasks
from maml_bench.engine.kernels.differentiable import innermost
from maml_bench.engine.kernels.replacing import with_kernels
from maml_bench.engine.recording import Recorded
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.native_code import NoCompiler, refuse_without_compiler
from maml_bench.types import Params

RECORDED = ("traced", "compiled")
SCHEDULES = (*outer.SCHEDULES, *RECORDED)


def refuse_unknown(schedule: str) -> None:
    """Raise MamlBenchError if there is no schedule of that name."""
    if schedule not in SCHEDULES:
        raise MamlBenchError(f"no schedule {schedule!r}{nearest(schedule, SCHEDULES)}")


class Execution:
    """A learner prepared for a schedule and a device.

    Args:
        learner: the network and its losses, as core has them.
        schedule: one of SCHEDULES.
        device: where the tensors will be.

    Attributes:
        plain: the learner that was given.
        mapping: the schedule of core.outer that maps over the tasks: ``loop`` or ``vmap``.
        description: how the network runs, in words, for the record.

    Raises:
        MamlBenchError: there is no such schedule.
        NoCompiler: the schedule is ``compiled``, the device is a CPU, and the machine has no C++ compiler.
    """

    def __init__(self, learner: Learner, schedule: str = "vmap", device: str = "cpu") -> None:
        refuse_unknown(schedule)
        self.plain, self.schedule, self.device = learner, schedule, device
        self.recorded = schedule in RECORDED
        self.mapping = "vmap" if self.recorded else schedule
        self._modules = tuple(learner.model.modules())
        self._prepared: dict[tuple[bool, ...], Learner] = {}
        self._prepared[self.training()], self.description = _prepared(learner, schedule, device)

    def training(self) -> tuple[bool, ...]:
        """The attribute ``training`` of each module of the network, which recordings depend on."""
        return tuple([module.training for module in self._modules])

    @property
    def learner(self) -> Learner:
        """The learner that recordings and training use. Its network may run on kernels.

        Putting kernels in place runs the Python of the network, which may ask whether it is in training.
        """
        training = self.training()
        if training not in self._prepared:
            self._prepared[training], _ = _prepared(self.plain, self.schedule, self.device)
        return self._prepared[training]

    @property
    def over_tasks(self) -> OverTasks:
        """The map over tasks."""
        return outer.schedule(self.mapping)

    def record(self, function: Callable[..., Any], *, compile: bool = False) -> Callable[..., Any]:
        """Return ``function`` as this schedule runs it: recorded at its first call, or without gradients as it is.

        ``compile`` lets torch.compile have the recording, if the schedule is ``compiled``.
        """
        if not self.recorded:
            return torch.no_grad()(function)
        return Recorded(function, compile=compile and self.schedule == "compiled", state=self.training)

    def laid_out(self, meta: Params) -> Params:
        """The same values, with filters in the layout that the kernels read."""
        learner = self.learner
        return innermost(meta) if learner.network is not learner.model else meta


def _prepared(learner: Learner, schedule: str, device: str) -> tuple[Learner, str]:
    """Return the learner prepared for this schedule and device, and a description for the record."""
    if schedule not in RECORDED:
        return learner, "torch operators"
    if schedule == "compiled" and device == "cpu":
        refuse_without_compiler()
    try:
        return with_kernels(learner, device)
    except NoCompiler:
        missing = "C++ compiler" if device == "cpu" else "Triton"
        return learner, f"torch operators (no {missing} for the kernels)"
