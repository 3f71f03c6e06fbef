"""The steps of a small program, each a few nested loops, and their C++ text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maml_bench.engine.small_programs.strides import Strided, collapsed
from maml_bench.engine.small_programs.terms import C_TYPES, Lazy, tensors_of, text_of

FEW = 4
"""Rows of fewer sums than this are not worth a loop; each sum is taken alone."""


@dataclass(frozen=True)
class Loop:
    """Every entry of ``out`` is a term."""

    out: Strided
    value: Lazy

    def reads(self) -> list[Strided]:
        """The tensors that are read."""
        return list(tensors_of(self.value.term))

    def work(self) -> int:
        """How many entries are computed."""
        return math.prod(self.out.shape)

    def text(self) -> str:
        """Its C++ text. The loops follow the memory of ``out``."""
        tensors = [self.out, *dict.fromkeys(self.reads())]
        order = sorted(range(len(self.out.shape)), key=lambda axis: -self.out.strides[axis])
        tensors = [tensor.permuted(order) for tensor in tensors]
        lengths, strides = collapsed(tensors[0].shape, [tensor.strides for tensor in tensors])
        out, *entries = [_entry(t, s, "i") for t, s in zip(tensors, strides, strict=True)]
        named = dict(zip(dict.fromkeys(self.reads()), entries, strict=True))
        value = text_of(self.value.term, self.out.dtype, named.__getitem__)
        return _nested(lengths, "i", f"{out} = {value};")


@dataclass(frozen=True)
class Sum:
    """``out`` is the sum, or the largest, of a term over its last axes; the first are those of ``out``."""

    out: Strided
    value: Lazy
    largest: bool = False

    def reads(self) -> list[Strided]:
        """The tensors that are read."""
        return list(tensors_of(self.value.term))

    def work(self) -> int:
        """How many entries are summed."""
        return math.prod(self.value.shape)

    def text(self) -> str:
        """Its C++ text: a row of sums at once where the entries of a row lie next to each other."""
        kept = len(self.out.shape)
        tensors = list(dict.fromkeys(self.reads()))
        lengths, strides = collapsed(self.out.shape, [self.out.strides, *(tensor.strides[:kept] for tensor in tensors)])
        over, along = collapsed(self.value.shape[kept:], [tensor.strides[kept:] for tensor in tensors])
        kind = C_TYPES[self.out.dtype]
        named = {
            tensor: _entry(tensor, [*s, *a], [*(f"i{n}" for n in range(len(s))), *(f"j{n}" for n in range(len(a)))])
            for tensor, s, a in zip(tensors, strides[1:], along, strict=True)
        }
        value = text_of(self.value.term, self.out.dtype, named.__getitem__)
        out = _entry(self.out, strides[0], "i")
        if not self.largest and lengths and lengths[-1] >= FEW and any(s[-1] == 1 for s in strides[1:]):
            index, length = f"i{len(lengths) - 1}", lengths[-1]
            row = f'_Pragma("omp simd") for (int {index} = 0; {index} < {length}; ++{index})'
            body = f"{row} {out} = 0; {_nested(over, 'j', f'{row} {out} += {value};', plain=True)}"
            return _nested(lengths[:-1], "i", f"{{ {body} }}", plain=True)
        start = f"({kind})(-INFINITY)" if self.largest else f"({kind})0"
        step = f"total = larger(total, {value});" if self.largest else f"total += {value};"
        clause = "" if self.largest else "reduction(+:total)"
        inner = _nested(over, "j", step, plain=self.largest, clause=clause)
        return _nested(lengths, "i", f"{{ {kind} total = {start}; {inner} {out} = total; }}", plain=True)


@dataclass(frozen=True)
class Product:
    """``out [T, m, n]`` is the matrix product of ``left [T, m, k]`` and ``right [T, k, n]``.

    The rows of ``right`` and of ``out`` are contiguous, if they have more than one entry.
    """

    out: Strided
    left: Strided
    right: Strided

    def reads(self) -> list[Strided]:
        """The tensors that are read."""
        return [self.left, self.right]

    def work(self) -> int:
        """How many multiplications it takes."""
        return math.prod(self.out.shape) * self.left.shape[2]

    def text(self) -> str:
        """Its C++ text: a call of products.h, with all lengths and strides as constants."""
        (tasks, rows, columns), inner = self.out.shape, self.left.shape[2]
        sizes = [rows, columns, inner, *self.left.strides[1:], self.right.strides[1], self.out.strides[1]]
        call = (
            f"product<{C_TYPES[self.out.dtype]}, {', '.join(map(str, sizes))}>("
            + ", ".join(f"{_pointer(tensor)}" for tensor in (self.left, self.right, self.out))
            + ");"
        )
        return f"for (int t = 0; t < {tasks}; ++t) {call}" if tasks > 1 else f"{{ const int t = 0; {call} }}"


@dataclass(frozen=True)
class Gather:
    """``out`` has the entries of ``source`` at the places ``index`` of an axis; a negative place counts from the end.

    The function ends with 1 at a place outside of the axis.
    """

    out: Strided
    source: Strided
    index: Strided
    axis: int

    def reads(self) -> list[Strided]:
        """The tensors that are read."""
        return [self.source, self.index]

    def work(self) -> int:
        """How many entries are copied."""
        return math.prod(self.out.shape)

    def text(self) -> str:
        """Its C++ text."""
        names = [f"i{n}" for n in range(len(self.out.shape))]
        number, length = _entry(self.index, self.index.strides, [names[self.axis]]), self.source.shape[self.axis]
        there = [*names[: self.axis], "place", *names[self.axis + 1 :]]
        copy = f"{_entry(self.out, self.out.strides, names)} = {_entry(self.source, self.source.strides, there)};"
        place = f"int64_t place = {number}; place += place < 0 ? {length} : 0;"
        body = f"{{ {place} if (place < 0 || place >= {length}) return 1; {copy} }}"
        return _nested(self.out.shape, "i", body, plain=True)


Step = Loop | Sum | Product | Gather


def _pointer(tensor: Strided) -> str:
    return f"{tensor.buffer.name} + {tensor.offset} + t * {tensor.strides[0]}"


def _entry(tensor: Strided, strides: Sequence[int], names: str | Sequence[str]) -> str:
    names = [f"{names}{n}" for n in range(len(strides))] if isinstance(names, str) else names
    parts = [
        f"{name} * {stride}" if stride != 1 else name for name, stride in zip(names, strides, strict=True) if stride
    ]
    place = " + ".join([str(tensor.offset)] * (tensor.offset > 0 or not parts) + parts)
    return f"{tensor.buffer.name}[{place}]"


def _nested(lengths: Sequence[int], name: str, body: str, *, plain: bool = False, clause: str = "") -> str:
    """Nested loops around ``body``, of which the innermost is vectorised unless it is ``plain``."""
    for number in reversed(range(len(lengths))):
        index = f"{name}{number}"
        pragma = f'_Pragma("omp simd {clause}") ' if number == len(lengths) - 1 and not plain else ""
        body = f"{pragma}for (int {index} = 0; {index} < {lengths[number]}; ++{index}) {body}"
    return body
