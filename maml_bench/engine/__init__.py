"""How one meta-step becomes fast: recorded once, rewritten, and run on kernels of our own.

The engine takes the functions of core apart. Core never imports it. The names below are loaded when they are first
used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maml_bench.engine.execution import SCHEDULES, Execution
    from maml_bench.engine.meta_step import MetaStep
    from maml_bench.engine.scoring import Scorer

__all__ = ["SCHEDULES", "Execution", "MetaStep", "Scorer"]

_MODULES = {"SCHEDULES": "execution", "Execution": "execution", "MetaStep": "meta_step", "Scorer": "scoring"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'maml_bench.engine' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"maml_bench.engine.{_MODULES[name]}"), name)
