"""What the declaration of a field says beyond its type, read from its annotation.

A field of a recipe section, a setup or a task distribution is declared with its range and meaning where it stands:
``rate: Annotated[float, Ge(0), Doc("Step size.")]``. `options` reads them all, for ``maml-bench options`` and the docs.
"""

import operator
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from numbers import Real
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_doc import Doc
from annotated_types import Le, MaxLen, MinLen

from maml_bench.errors import MamlBenchError

BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "ge": ("at least", operator.ge),
    "gt": ("above", operator.gt),
    "le": ("at most", operator.le),
    "lt": ("below", operator.lt),
}
"""The bounds that a field can be declared with, by the attribute that holds the number: words and comparison."""


WIDTH = Le(16_384)
"""The bound of a number of units, channels or states: two layers of so many units have 1 GB of weights between them."""
AT_ONCE = Le(1_000_000)
"""The bound of a number of things that are in memory at once or follow each other within one step."""
COUNT = Le(1_000_000_000)
"""The bound of a number that is only counted to, such as meta-steps."""
LARGE = Le(1e18)
"""The bound of a number that may be large: its square is a finite number in single precision."""
LAYERS = MaxLen(100)
"""The bound of the length of a list, such as that of the hidden layers of a network."""


@dataclass(frozen=True)
class When:
    """The field is read only where the field ``key`` of the same section has one of ``values``.

    ``key`` may name a number or a flag: then ``values`` is empty, and the field is read where ``key`` is not zero or
    false. The entries ``but`` of a table are always read.
    """

    key: str
    values: tuple[Any, ...] = ()
    but: tuple[str, ...] = ()

    def holds(self, section: Any) -> bool:
        """Whether the field is read in this section."""
        value = getattr(section, self.key)
        return value in self.values if self.values else bool(value)

    def __str__(self) -> str:
        if not self.values:
            return f"{self.key} is set"
        return f"{self.key} is {' or '.join(map(repr, self.values))}"


@dataclass(frozen=True)
class Also:
    """Other words for the field, which a wrong key is compared with too."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class OfNetwork:
    """The field, or each field of the table, describes the network of a task family, which not every setup asks."""


@dataclass(frozen=True)
class Option:
    """One key: its type, range and meaning in words; ``default`` is MISSING where it must be given."""

    key: str
    type: str
    default: Any
    range: str
    meaning: str


def annotations(cls: Any) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """The fields of a dataclass that can be given: their type, and what else their annotation says."""
    return _annotations(cls)


def words_of(cls: type) -> dict[str, str]:
    """The keys of a dataclass, and the other words for them, each with the key that it means."""
    found = {key: key for key in annotations(cls)}
    for key, (_, extras) in annotations(cls).items():
        for extra in extras:
            if isinstance(extra, Also):
                found |= dict.fromkeys(extra.words, key)
    return found


def options(cls: Any, prefix: str = "") -> tuple[Option, ...]:
    """Every key that a dataclass has, in the order of its fields; those of nested tables follow with a dot."""
    return _options(cls, prefix)


def check_bounds(section: Any) -> None:
    """Check the numbers of a dataclass that was made in Python against the bounds of its fields.

    Raises:
        MamlBenchError: a number is outside of its bounds, or something else stands in its place.
    """
    for name, (_, extras) in annotations(type(section)).items():
        value = getattr(section, name)
        for words, bound, holds in _bounds(extras):
            if value is not None and not (isinstance(value, Real) and holds(value, bound)):
                raise MamlBenchError(f"{type(section).__name__}: {name} is {value!r}, but must be {words} {bound:g}")


def _bounds(extras: tuple[Any, ...]) -> Iterator[tuple[str, Any, Callable[[Any, Any], bool]]]:
    """The bounds among what an annotation says: in words, the number, and the comparison that must hold."""
    for extra in extras:
        for attribute, (words, holds) in BOUNDS.items():
            bound = getattr(extra, attribute, None)
            if bound is not None:
                yield words, bound, holds


@cache
def _options(cls: Any, prefix: str) -> tuple[Option, ...]:
    found: list[Option] = []
    by_name: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}
    for name, (hint, extras) in annotations(cls).items():
        if isinstance(hint, type) and is_dataclass(hint):
            found += options(hint, f"{prefix}{name}.")
            continue
        f = by_name[name]
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        meaning = " ".join(extra.documentation for extra in extras if isinstance(extra, Doc))
        found.append(Option(prefix + name, _type(hint), default, _range(hint, extras), meaning))
    return tuple(found)


def unread(section: Any) -> dict[str, str]:
    """The keys of a section that its other values leave without effect, each with the condition that it lacks."""
    found: dict[str, str] = {}
    for name, (hint, extras) in annotations(type(section)).items():
        nested = isinstance(hint, type) and is_dataclass(hint)
        for condition in (extra for extra in extras if isinstance(extra, When) and not extra.holds(section)):
            keys = [key for key in annotations(hint) if key not in condition.but] if nested else []
            more = {f"{name}.{key}": str(condition) for key in keys} if nested else {name: str(condition)}
            found = more | found
        if nested:
            below = unread(getattr(section, name))
            found |= {f"{name}.{key}": why for key, why in below.items() if f"{name}.{key}" not in found}
    return found


def of_network(cls: Any) -> Iterator[str]:
    """The keys of a dataclass that describe a network."""
    for name, (hint, extras) in annotations(cls).items():
        if any(isinstance(extra, OfNetwork) for extra in extras):
            nested = isinstance(hint, type) and is_dataclass(hint)
            yield from (option.key for option in options(hint, f"{name}.")) if nested else (name,)


@cache
def _annotations(cls: Any) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for f in fields(cls):
        if f.init:
            hint = hints[f.name]
            annotated = get_origin(hint) is Annotated
            found[f.name] = (hint.__origin__, hint.__metadata__) if annotated else (hint, ())
    return found


def _type(hint: Any) -> str:
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        return _type(arguments[0])
    if get_origin(hint) is Literal:
        return "one of"
    if get_origin(hint) is tuple:
        return f"list of {_type(arguments[0])}"
    if type(None) in arguments:
        return f"{_type(next(a for a in arguments if a is not type(None)))} or nothing"
    return {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}.get(
        getattr(hint, "__name__", ""), "table"
    )


def _range(hint: Any, extras: tuple[Any, ...]) -> str:
    """What values are allowed, in words; empty where all of the type are."""
    parts = [f"{words} {bound}" for words, bound, _ in _bounds(extras)]
    parts += [f"at least {extra.min_length} of them" for extra in extras if isinstance(extra, MinLen)]
    parts += [f"at most {extra.max_length} of them" for extra in extras if isinstance(extra, MaxLen)]
    if get_origin(hint) is Literal:
        parts.append(", ".join(repr(value) for value in get_args(hint)))
    if get_origin(hint) is tuple and get_origin(item := get_args(hint)[0]) is Annotated:
        parts.append(f"each {_range(item.__origin__, item.__metadata__)}")
    return ", ".join(parts)
