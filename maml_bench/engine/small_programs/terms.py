"""Elementwise operations of a small program: terms that are written into the loop of whoever uses them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from maml_bench.engine.small_programs.strides import Strided

C_TYPES = {torch.float32: "float", torch.float64: "double", torch.int64: "int64_t", torch.bool: "bool"}


class Unsupported(Exception):
    """A recording has something that small programs do not know; the message says what."""


@dataclass(frozen=True)
class Constant:
    """The same number everywhere."""

    value: float


@dataclass(frozen=True)
class Applied:
    """A C++ expression of other terms, which are converted to the type ``inside`` first; its own type is ``dtype``."""

    template: str
    arguments: tuple["Term", ...]
    inside: torch.dtype
    dtype: torch.dtype


Term = Strided | Constant | Applied


@dataclass(frozen=True)
class Lazy:
    """A tensor that is not in memory: each entry is a term of the entries of other tensors, all of this shape."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    term: Term

    def viewed(self, view: Callable[[Strided], Strided | None]) -> "Lazy | None":
        """The same view of every tensor in the term; None where one of them cannot be viewed so."""
        missing = False

        def of(tensor: Strided) -> Strided:
            nonlocal missing
            found = view(tensor)
            missing = missing or found is None
            return tensor if found is None else found

        term = with_tensors(self.term, of)
        return None if missing else replace(self, term=term)


def tensors_of(term: Term) -> Iterator[Strided]:
    """The tensors of a term, in order, with repetitions."""
    if isinstance(term, Strided):
        yield term
    elif isinstance(term, Applied):
        for argument in term.arguments:
            yield from tensors_of(argument)


def with_tensors(term: Term, change: Callable[[Strided], Term]) -> Term:
    """The term with each tensor changed."""
    if isinstance(term, Strided):
        return change(term)
    if isinstance(term, Applied):
        return replace(term, arguments=tuple(with_tensors(a, change) for a in term.arguments))
    return term


def size_of(term: Term) -> int:
    """How many operations a term has."""
    return 1 + sum(map(size_of, term.arguments)) if isinstance(term, Applied) else 0


def text_of(term: Term, dtype: torch.dtype, entry: Callable[[Strided], str]) -> str:
    """The C++ expression of a term, converted to ``dtype``. ``entry`` writes the entry of a tensor."""
    if isinstance(term, Constant):
        return _number(term.value, dtype)
    if isinstance(term, Strided):
        text, has = entry(term), term.dtype
    else:
        text = term.template.format(*(text_of(a, term.inside, entry) for a in term.arguments))
        text, has = f"({text})", term.dtype
    return text if has == dtype else f"({C_TYPES[dtype]}){text}"


def _number(value: float, dtype: torch.dtype) -> str:
    kind = C_TYPES[dtype]
    if dtype in (torch.int64, torch.bool):
        return f"({kind}){int(value)}"
    if math.isnan(value):
        return f"({kind})NAN"
    if math.isinf(value):
        return f"({kind})({'-' if value < 0 else ''}INFINITY)"
    return f"({kind}){value!r}"
