"""What code does besides returning its result: draws from torch's global generator, and changes of tensors in place."""

import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from maml_bench.engine.torch_internals import TorchDispatchMode
from maml_bench.own_faults import own_place


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside it, every draw and every change of one of the tensors is noted with the line of the user's code.

    Args:
        tensors: those that must stay as they are.

    Attributes:
        drawn: the operations that drew from the global generator, each with its line.
        changed: the operations that changed one of the tensors, each with its line.
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
        self.drawn: list[tuple[str, str]] = []
        self.changed: list[tuple[str, str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        place = own_place(sys._getframe(1)) or "a layer of the network"
        name = str(func.overloadpacket.__name__)
        if torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None:
            self.drawn.append((name, place))
        if func._schema.is_mutable:
            for argument, value in zip(func._schema.arguments, args, strict=False):
                written = argument.alias_info is not None and argument.alias_info.is_write
                if written and isinstance(value, Tensor) and value.untyped_storage().data_ptr() in self._kept:
                    self.changed.append((name, place))
        return func(*args, **kwargs)
