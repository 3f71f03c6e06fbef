"""Every number that can be set has a range with two ends, and what is just outside of an end is refused by name.

The cases are made from the declarations, so that a new key is tested without a line here.
"""

import math
from collections.abc import Iterator
from dataclasses import MISSING, is_dataclass
from typing import Any, get_args, get_origin

import pytest
from annotated_types import MaxLen, MinLen

from maml_bench import registry
from maml_bench.checked import construct
from maml_bench.core.learner import Inner
from maml_bench.declared import BOUNDS, annotations, options
from maml_bench.errors import MamlBenchError
from maml_bench.harness import sections
from maml_bench.harness.sections import OPTIMISERS, EpisodeShape, Published, Validation

SECTIONS: dict[str, type] = {
    "inner": Inner,
    "train": EpisodeShape,
    "validation": Validation,
    "test": sections.Test,
    "published": Published,
    **{f"outer of {name}": cls for name, cls in OPTIMISERS.items()},
    **{f"setup {name}": registry.setup_class(name) for name in registry.setup_names()},
    **{f"tasks {name}": registry.task_class(name) for name in registry.task_names()},
}
LEAST: dict[str, Any] = {
    **{"rate": 0.1, "steps": 1, "meta_batch": 1, "way": 1, "shot": 1, "query": 1, "episodes": 1, "inner_steps": 1},
    **{"every": 1, "protocol": "paper", "split": "test", "setup": "maml", "value": 0.5, "source": "a paper"},
}
"""A value for each key that has no default."""


BESIDE = {"turns": {"latent": 1}, "latent": {"turns": 1}}
"""What must stand beside a key at its end, because a rule binds the two together."""


def numbers(cls: type, table: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type, tuple[Any, ...]]]:
    """The place of each number in a dataclass, its type, and what its annotation says; an entry of a list counts."""
    for name, (hint, extras) in annotations(cls).items():
        kinds = {hint, *get_args(hint)} & {int, float}
        if isinstance(hint, type) and is_dataclass(hint):
            yield from numbers(hint, (*table, name))
        elif get_origin(hint) is tuple:
            item = get_args(hint)[0]
            inside, more = (item.__origin__, item.__metadata__) if hasattr(item, "__metadata__") else (item, ())
            if inside in (int, float):
                yield (*table, name, "[]"), inside, more
        elif kinds:
            yield (*table, name), kinds.pop(), extras


NUMBERS = [
    pytest.param(cls, place, kind, extras, id=f"{section} {'.'.join(place)}")
    for section, cls in SECTIONS.items()
    for place, kind, extras in numbers(cls)
]
ENDS = [
    pytest.param(*case.values[:3], bound, getattr(extra, bound), id=f"{case.id} {bound}")
    for case in NUMBERS
    for extra in case.values[3]
    for bound in BOUNDS
    if hasattr(extra, bound)
]


def required(cls: type) -> dict[str, Any]:
    """The least table of a dataclass."""
    found = {option.key: LEAST[option.key] for option in options(cls) if option.default is MISSING}
    return found | ({"inner_steps": [0]} if cls is sections.Test else {})


def given(cls: type, place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The least table of a dataclass with ``value`` at a place."""
    name, *rest = place
    beside_it = {key: one for key, one in BESIDE.get(name, {}).items() if key in annotations(cls)}
    least = required(cls) | beside_it
    if rest == ["[]"]:
        return least | {name: [value] * 4}
    inside = annotations(cls)[name][0]
    return least | {name: given(inside, tuple(rest), value) if rest else value}


def beside(kind: type, bound: str, end: Any) -> tuple[Any, Any]:
    """The last value that an end allows, and the next one beyond it."""
    away = 1 if bound in ("le", "lt") else -1
    if kind is int:
        inside = end if bound in ("ge", "le") else end - away
        return int(inside), int(inside) + away
    far = math.nextafter(end, math.inf * away)
    return (float(end), far) if bound in ("ge", "le") else (math.nextafter(end, -math.inf * away), float(end))


@pytest.mark.parametrize(("cls", "place", "kind", "extras"), NUMBERS)
def test_every_number_has_a_range_with_two_ends(cls, place, kind, extras):
    ends = {bound for extra in extras for bound in BOUNDS if hasattr(extra, bound)}
    assert ends & {"ge", "gt"}, "a lower end"
    assert ends & {"le", "lt"}, "an upper end"


@pytest.mark.parametrize(("cls", "place", "kind", "bound", "end"), ENDS)
def test_a_range_is_held_at_its_ends(cls, place, kind, bound, end):
    inside, outside = beside(kind, bound, end)
    construct(cls, given(cls, place, inside), "recipe 'x'", "there")
    with pytest.raises(MamlBenchError) as caught:
        construct(cls, given(cls, place, outside), "recipe 'x'", "there")
    key = ".".join(place).replace(".[]", "[0]")
    assert str(caught.value).startswith(f"recipe 'x': there.{key} is {outside!r}, but must be {BOUNDS[bound][0]} ")


LISTS = [
    pytest.param(cls, (*table, name), extra, id=f"{section} {'.'.join((*table, name))}")
    for section, cls in SECTIONS.items()
    for table, inside in [((), cls), *(((n,), h) for n, (h, _) in annotations(cls).items() if is_dataclass(h))]
    for name, (hint, extras) in annotations(inside).items()
    if get_origin(hint) is tuple
    for extra in (*extras, None)
    if isinstance(extra, MinLen | MaxLen) or not any(isinstance(one, MaxLen) for one in extras)
]


@pytest.mark.parametrize(("cls", "place", "extra"), LISTS)
def test_every_list_has_a_longest_length_which_is_held(cls, place, extra):
    assert extra is not None, "a longest length"
    long = extra.max_length + 1 if isinstance(extra, MaxLen) else extra.min_length - 1
    item = "x" if place == ("outside",) else 1
    table: Any = [item] * long
    for name in reversed(place[1:]):
        table = {name: table}
    least = required(cls)
    with pytest.raises(MamlBenchError, match="must be a list of at "):
        construct(cls, least | {place[0]: table}, "recipe 'x'")
