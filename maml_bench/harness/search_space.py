"""The space of a search: which keys take values from which ranges or lists, as ``--set`` writes them.

``inner.rate=0.001..0.1:log`` is a range on a logarithmic scale, ``inner.steps=1..5`` a range of whole numbers, and
``outer.decay=constant|cosine`` a list of choices. Any other setting fixes its key.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from maml_bench.declared import of_network
from maml_bench.errors import MamlBenchError, shortened
from maml_bench.harness.layers import as_setting, leaves, setting
from maml_bench.harness.options import options
from maml_bench.registry import tasks_class

EDGE = 0.05
"""A best value within this share of the length of its range, from one of its ends, is at the edge."""
DIGITS = 4
"""Significant digits of the values that are tried, so that they can be typed and read."""
LARGEST = 10**18
_RANGE = re.compile(r"([^/\\]*?)\.\.([^/\\]*?)(?::(\w*))?")
"""A text with two points that is not a path."""
COMPARED = {
    "validation": "it says how the trials are compared",
    "test": "it says how the results are tested",
    "outer.steps": "it is the budget, which all trials have in common",
}
"""Sections and keys that have one value in all trials, each with the reason."""
Values = dict[str, Any]
"""The value of each key of a space."""


@dataclass(frozen=True)
class Dimension:
    """One key of a space. It has a range from ``low`` to ``high``, both included, or ``choices``; ``text`` is what the
    user wrote after the key."""

    key: str
    text: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.key}={self.text}"

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that must be allowed so that all are: both ends of a range, or every choice."""
        return self.choices or (self.low, self.high)

    @property
    def all_values(self) -> Sequence[Any] | None:
        """Every value there is; None for a range of numbers that need not be whole."""
        if self.choices:
            return self.choices
        return range(int(self.low), int(self.high) + 1) if self.whole else None

    def holds(self, value: Any) -> bool:
        """Whether a value is one of this dimension."""
        if self.all_values is not None:
            return value in self.all_values
        return isinstance(value, int | float) and self.low <= value <= self.high

    def rounded(self, value: float) -> Any:
        """A number of the range with few digits."""
        if self.whole:
            return int(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def place(self, value: Any) -> float:
        """Where a value lies in the range, from 0 to 1, on the scale that is searched."""
        low, high, at = ((math.log(x) if self.log else x) for x in (self.low, self.high, value))
        return (at - low) / (high - low)

    def distance(self, one: Any, other: Any) -> float:
        """How far two values lie apart: 0 to 1 within a range, 1 for two choices."""
        return float(one != other) if self.choices else abs(self.place(one) - self.place(other))

    def beyond(self, value: Any) -> Any | None:
        """A value just outside of the range, on the side whose edge ``value`` is at; None if it is at none."""
        if self.choices:
            return None
        place = self.place(value)
        if EDGE < place < 1 - EDGE and value not in (self.low, self.high):
            return None
        up = place > 0.5
        if self.whole:
            return int(self.high) + 1 if up else int(self.low) - 1
        away = EDGE * (self.high - self.low)
        return self.high + away if up else self.low / 2 if self.log else self.low - away


def is_range(text: str) -> bool:
    """Whether a text says a range or choices, and not one value."""
    return "|" in text or _RANGE.fullmatch(text) is not None


def split(settings: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The settings that fix a key, and (key, text) of those that search one.

    Raises:
        MamlBenchError: a setting has no key, or none of them has a range.
    """
    fixed, searched = [], []
    for text in settings:
        [(key, value), *more] = leaves(setting(text))
        written = text.partition("=")[2]
        # What TOML reads is a value, so a text with such signs can be fixed by writing it in quotation marks.
        if not more and value == written and is_range(written):
            searched.append((key, written.strip()))
        else:
            fixed.append(text)
    if not searched:
        raise MamlBenchError(
            "there is nothing to search: give a key a range, such as --set inner.rate=0.001..0.1:log, or choices, such "
            "as --set outer.decay=constant|cosine"
        )
    keys = [key for text in fixed for key, _ in leaves(setting(text))] + [key for key, _ in searched]
    for key, _ in searched:
        if keys.count(key) > 1:
            raise MamlBenchError(f"--set {key} is given twice: a key has one range, or one value")
    return fixed, searched


def space_of(searched: Sequence[tuple[str, str]], recipe: str, **choice: Any) -> tuple[Dimension, ...]:
    """The dimensions of a space. ``choice`` has the other arguments of `options.options`: preset, setup and so on.

    Raises:
        MamlBenchError: a range or a list of choices cannot be read, or the key must not differ between trials.
    """
    types = {row.key: row.type for row in options(recipe, **choice)}
    return tuple(_dimension(key, text, types.get(key, "number")) for key, text in searched)


def _dimension(key: str, text: str, kind: str) -> Dimension:
    where = f"--set {key}={text}"
    for part, reason in COMPARED.items():
        if key == part or key.startswith(f"{part}."):
            raise MamlBenchError(f"{where}: {key} cannot be searched, because {reason}: give it one value")
    if "|" in text:
        return Dimension(key, text, choices=_choices(key, text, where))
    found = _RANGE.fullmatch(text)
    assert found is not None, "`split` has seen that it is one"
    if found[3] not in (None, "log"):
        raise MamlBenchError(f"{where} ends in {found[3]!r}, but after a range only ':log' can stand")
    if kind.removesuffix(" or nothing") not in ("number", "whole number"):
        raise MamlBenchError(f"{where} is a range, but {key} is no number ({kind}): write its choices, such as a|b")
    whole = kind.startswith("whole")
    low, high = (_number(part, whole, where) for part in (found[1], found[2]))
    if low >= high:
        raise MamlBenchError(f"{where}: a range begins with its smaller number, but {low} is not below {high}")
    if found[3] and low <= 0:
        raise MamlBenchError(f"{where}: a range on a logarithmic scale begins above 0, not at {low}")
    return Dimension(key, text, low, high, found[3] is not None, whole)


def _number(text: str, whole: bool, where: str) -> Any:
    """One end of a range."""
    kind = "whole numbers" if whole else "numbers"
    wrong = MamlBenchError(f"{where} must be two {kind} with '..' between, but {shortened(text)} is none")
    if not text.isascii() or re.search(r"[a-df-zA-DF-Z]", text):  # Python reads 'nan' and other digits as numbers too
        raise wrong
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise wrong from None
    if abs(value) > LARGEST:
        raise MamlBenchError(f"{where}: an end of a range lies between -1e18 and 1e18")
    return value


def _choices(key: str, text: str, where: str) -> tuple[Any, ...]:
    found: list[Any] = []
    for part in text.split("|"):
        if not part.strip():
            raise MamlBenchError(f"{where} has an empty choice: write values with '|' between, such as a|b")
        value = next(value for _, value in leaves(setting(f"{key}={part.strip()}")))
        if value in found:
            raise MamlBenchError(f"{where} has the choice {part.strip()} twice")
        found.append(value)
    return tuple(found)


def at_the_ends(space: Sequence[Dimension]) -> Iterator[Values]:
    """The first values of the space, and each other end and choice of one key at a time."""
    first = {one.key: one.ends[0] for one in space}
    yield first
    yield from ({**first, one.key: value} for one in space for value in one.ends[1:])


def check(space: Sequence[Dimension], resolved: Callable[[Values], Any]) -> None:
    """Resolve the recipe `at_the_ends` of the space.

    Raises:
        MamlBenchError: as ``resolved``, which makes a recipe of values: a key is unknown or has no effect, a value is
            outside of its range. Or a key changes the tasks themselves.
    """
    for values in at_the_ends(space):
        recipe = resolved(values)
    for one in space:
        network = {f"tasks.{key}" for key in of_network(tasks_class(recipe.tasks))}
        if one.key.startswith("tasks.") and one.key not in network:
            raise MamlBenchError(
                f"--set {one}: {one.key} cannot be searched, because it changes the tasks: give it one value"
            )


def settings_of(values: Mapping[str, Any]) -> list[str]:
    """The values as ``--set`` takes them."""
    return [as_setting(key, value) for key, value in values.items()]


def size(space: Sequence[Dimension]) -> int | None:
    """How many points the space has; None where a key has a range of numbers that need not be whole."""
    counts = [None if one.all_values is None else len(one.all_values) for one in space]
    return None if None in counts else math.prod(count for count in counts if count is not None)


def points(space: Sequence[Dimension]) -> Iterator[Values]:
    """Every point of a space that has a `size`."""
    keys = [one.key for one in space]
    return (dict(zip(keys, values, strict=True)) for values in product(*(one.all_values or () for one in space)))


def distance(space: Sequence[Dimension], one: Values, other: Values) -> float:
    """The Euclidean distance of two points, where each range has the length 1."""
    return math.hypot(*(dimension.distance(one[dimension.key], other[dimension.key]) for dimension in space))
