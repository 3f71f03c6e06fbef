"""The numbers that can be set, found in the declarations, and the values at the ends of their ranges."""

import math
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin

from maml_bench import registry
from maml_bench.core.learner import Inner
from maml_bench.declared import BOUNDS, annotations
from maml_bench.harness.sections import OPTIMISERS, EpisodeShape, Published, Test, Validation

Place = tuple[str, ...]
ENTRY = "[]"
"""The last part of the place of a number that is an entry of a list."""


def sections() -> dict[str, type]:
    """The dataclasses that recipes are made of, each with a name."""
    return {
        **{"inner": Inner, "train": EpisodeShape, "validation": Validation, "test": Test, "published": Published},
        **{f"outer of {name}": cls for name, cls in OPTIMISERS.items()},
        **{f"setup {name}": registry.setup_class(name) for name in registry.setup_names()},
        **{f"tasks {name}": registry.task_class(name) for name in registry.task_names()},
    }


def numbers(cls: type, table: Place = ()) -> Iterator[tuple[Place, type, tuple[Any, ...]]]:
    """The place of each number in a dataclass, its type, and what its annotation says; an entry of a list counts."""
    for name, (hint, extras) in annotations(cls).items():
        kinds = {hint, *get_args(hint)} & {int, float}
        if isinstance(hint, type) and is_dataclass(hint):
            yield from numbers(hint, (*table, name))
        elif get_origin(hint) is tuple:
            item = get_args(hint)[0]
            inside, more = (item.__origin__, item.__metadata__) if hasattr(item, "__metadata__") else (item, ())
            if inside in (int, float):
                yield (*table, name, ENTRY), inside, more
        elif kinds:
            yield (*table, name), kinds.pop(), extras


def ends(extras: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """The ends of a range: the name of each bound in `BOUNDS`, and its number."""
    for extra in extras:
        for bound in BOUNDS:
            if hasattr(extra, bound):
                yield bound, getattr(extra, bound)


def beside(kind: type, bound: str, end: Any) -> tuple[Any, Any]:
    """The last value that an end allows, and the next one beyond it."""
    away = 1 if bound in ("le", "lt") else -1
    if kind is int:
        inside = end if bound in ("ge", "le") else end - away
        return int(inside), int(inside) + away
    far = math.nextafter(end, math.inf * away)
    return (float(end), far) if bound in ("ge", "le") else (math.nextafter(end, -math.inf * away), float(end))
