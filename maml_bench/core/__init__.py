"""The mathematics: one inner loop, the meta-gradient over a meta-batch, evaluation. It names no data set and no device.

The names below are loaded when they are first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maml_bench.core.inner import SGD, Adam, adapt
    from maml_bench.core.learner import Inner, Learner
    from maml_bench.core.outer import meta_gradient
    from maml_bench.core.setup import Setup

__all__ = ["SGD", "Adam", "Inner", "Learner", "Setup", "adapt", "meta_gradient"]

_MODULES = {
    **dict.fromkeys(("SGD", "Adam", "adapt"), "inner"),
    **dict.fromkeys(("Inner", "Learner"), "learner"),
    "meta_gradient": "outer",
    "Setup": "setup",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'maml_bench.core' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"maml_bench.core.{_MODULES[name]}"), name)
