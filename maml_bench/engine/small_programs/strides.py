"""Memory as the loops of a small program see it: a buffer, and how far apart the entries of a tensor are in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch


@dataclass(eq=False)
class Buffer:
    """A stretch of memory with ``size`` entries.

    ``kind`` is ``input``, ``output`` or ``temporary``; ``number`` is its place among the buffers of the kind.
    """

    kind: str
    number: int
    dtype: torch.dtype
    size: int

    @property
    def name(self) -> str:
        """The name of the pointer to it in the generated function."""
        return f"{self.kind}{self.number}"


@dataclass(frozen=True)
class Strided:
    """A tensor in a buffer. ``strides`` are in entries; 0 repeats an entry."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the entries."""
        return self.buffer.dtype

    def permuted(self, order: Sequence[int]) -> "Strided":
        """With the axes in another order."""
        return replace(self, shape=tuple(self.shape[i] for i in order), strides=tuple(self.strides[i] for i in order))

    def expanded(self, shape: Sequence[int]) -> "Strided":
        """Repeated to ``shape`` by the rules of broadcasting, in which -1 keeps the length of an axis."""
        new = len(shape) - len(self.shape)
        lengths = [self.shape[i - new] if n == -1 else n for i, n in enumerate(shape)]
        strides = [
            0 if i < new or (self.shape[i - new] == 1 and n != 1) else self.strides[i - new]
            for i, n in enumerate(lengths)
        ]
        return replace(self, shape=tuple(lengths), strides=tuple(strides))

    def sliced(self, axis: int, start: int, length: int, step: int = 1) -> "Strided":
        """``length`` entries of an axis, from ``start`` on."""
        shape, strides = list(self.shape), list(self.strides)
        shape[axis], strides[axis] = length, strides[axis] * step
        offset = self.offset + start * self.strides[axis]
        return replace(self, offset=offset, shape=tuple(shape), strides=tuple(strides))

    def without(self, axis: int) -> "Strided":
        """The first entry of an axis, and the axis removed."""
        return self.permuted([i for i in range(len(self.shape)) if i != axis])

    def reshaped(self, shape: Sequence[int]) -> "Strided | None":
        """The same entries in the same order under another shape; None where that needs a copy."""
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        found: list[int] = []
        wanted = list(shape)
        while wanted and old:
            # the next axes on both sides that hold equally many entries
            if wanted[0] == 1:
                found.append(0)
                wanted.pop(0)
                continue
            group, here = [old.pop(0)], [wanted.pop(0)]
            while math.prod(n for n, _ in group) != math.prod(here):
                if math.prod(n for n, _ in group) < math.prod(here):
                    group.append(old.pop(0))
                else:
                    here.append(wanted.pop(0))
            if any(s != t * n for (_, s), (n, t) in pairwise(group)):
                return None
            stride, strides = group[-1][1], []
            for n in reversed(here):
                strides.append(stride)
                stride *= n
            found += reversed(strides)
        found += [0] * len(wanted)  # axes of length 1
        return replace(self, shape=tuple(shape), strides=tuple(found))


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of entries that follow each other in the order of the axes."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def collapsed(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Nested loops over several tensors of one shape as few as possible: their lengths, and the strides of each tensor.

    Axes of length 1 go, and neighbouring axes become one where the strides of every tensor allow it.
    """
    lengths: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, length in enumerate(shape):
        if length == 1:
            continue
        here = [tensor[axis] for tensor in strides]
        if lengths and all(step[-1] == s * length for step, s in zip(steps, here, strict=True)):
            lengths[-1] *= length
            for step, s in zip(steps, here, strict=True):
                step[-1] = s
        else:
            lengths.append(length)
            for step, s in zip(steps, here, strict=True):
                step.append(s)
    return lengths, steps
