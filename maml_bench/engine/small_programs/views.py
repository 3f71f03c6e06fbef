"""Operators that only look at a tensor in another way."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from maml_bench.engine.small_programs.strides import Strided

aten = torch.ops.aten


def same(tensor: Strided, arguments: Sequence[Any], shape: Sequence[int]) -> Strided | None:
    return tensor.reshaped(shape)


def transposed(tensor: Strided, arguments: Sequence[Any], shape: Sequence[int]) -> Strided:
    rank = len(tensor.shape)
    first, second = (int(axis) for axis in arguments or (0, -1))
    order = list(range(rank))
    order[first % rank], order[second % rank] = order[second % rank], order[first % rank]
    return tensor.permuted(order)


def permuted(tensor: Strided, arguments: Sequence[Any], shape: Sequence[int]) -> Strided:
    return tensor.permuted([axis % len(shape) for axis in arguments[0]])


def expanded(tensor: Strided, arguments: Sequence[Any], shape: Sequence[int]) -> Strided:
    return tensor.expanded(shape)


def selected(tensor: Strided, arguments: Sequence[Any], shape: Sequence[int]) -> Strided:
    axis, number = arguments
    axis %= len(tensor.shape)
    return tensor.sliced(axis, number % tensor.shape[axis], 1).without(axis)


def sliced(tensor: Strided, arguments: Sequence[Any], shape: Sequence[int]) -> Strided:
    missing: tuple[Any, ...] = (0, None, None, 1)
    axis, start, _, step = (*arguments, *missing[len(arguments) :])
    axis %= len(tensor.shape)
    length = tensor.shape[axis]
    start = min(max(start + length if start < 0 else start, 0), length) if start else 0
    return tensor.sliced(axis, start, shape[axis], step)


VIEWS: dict[Any, Callable[[Strided, Sequence[Any], Sequence[int]], Strided | None]] = {
    aten.view.default: same,
    aten._unsafe_view.default: same,
    aten.reshape.default: same,
    aten.unsqueeze.default: same,
    aten.squeeze.dim: same,
    aten.squeeze.dims: same,
    aten.squeeze.default: same,
    aten.t.default: transposed,
    aten.transpose.int: transposed,
    aten.permute.default: permuted,
    aten.expand.default: expanded,
    aten.select.int: selected,
    aten.slice.Tensor: sliced,
}
"""Operator to its view of a tensor, from the other operands and the shape of the result; None where it needs a copy."""
