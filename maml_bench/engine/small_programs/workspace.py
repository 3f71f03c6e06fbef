"""What a small program is built of: its buffers and its steps, both in order."""

import math
from collections.abc import Sequence

import torch

from maml_bench.engine.small_programs.steps import Loop, Step
from maml_bench.engine.small_programs.strides import Buffer, Strided, contiguous
from maml_bench.engine.small_programs.terms import C_TYPES, Lazy, Unsupported, tensors_of


class Workspace:
    """The buffers and the steps so far."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.buffers: list[Buffer] = []

    def buffer(self, kind: str, dtype: torch.dtype, size: int) -> Buffer:
        """A new buffer.

        Raises:
            Unsupported: it would be empty, or its entries have a type that small programs do not know.
        """
        if dtype not in C_TYPES:
            raise Unsupported(f"tensors of {dtype}")
        if size == 0:
            raise Unsupported("an empty tensor")
        self.buffers.append(Buffer(kind, len(self.of_kind(kind)), dtype, size))
        return self.buffers[-1]

    def of_kind(self, kind: str) -> list[Buffer]:
        """The buffers of a kind, in order."""
        return [buffer for buffer in self.buffers if buffer.kind == kind]

    def room(self, dtype: torch.dtype, shape: Sequence[int], order: Sequence[int] | None = None) -> Strided:
        """Room for a tensor in temporary memory, in which the axes lie in ``order``, the last one contiguous."""
        order = list(range(len(shape)) if order is None else order)
        lengths = tuple(shape[i] for i in order)
        place = Strided(self.buffer("temporary", dtype, math.prod(shape)), 0, lengths, contiguous(lengths))
        return place.permuted([order.index(i) for i in range(len(shape))])

    def in_memory(self, value: Strided | Lazy) -> Strided:
        """A tensor in memory, for those who cannot use a term."""
        if isinstance(value, Strided):
            return value
        if isinstance(value.term, Strided) and value.term.dtype == value.dtype:
            return value.term
        return self.stored(value, _usual_order(value))

    def stored(self, value: Strided | Lazy, order: Sequence[int] | None = None) -> Strided:
        """A copy in temporary memory, in which the axes lie in ``order``."""
        place = self.room(value.dtype, value.shape, order)
        self.steps.append(Loop(place, lazy(value)))
        return place


def lazy(value: Strided | Lazy) -> Lazy:
    """A tensor as a term."""
    return value if isinstance(value, Lazy) else Lazy(value.shape, value.dtype, value)


def _usual_order(value: Lazy) -> list[int] | None:
    """The order of axes in which all tensors of full size lie in memory; None where they differ."""
    orders = {
        tuple(sorted(range(len(value.shape)), key=lambda axis: -tensor.strides[axis]))
        for tensor in tensors_of(value.term)
        if all(s or n == 1 for n, s in zip(value.shape, tensor.strides, strict=True))
    }
    return list(orders.pop()) if len(orders) == 1 else None
