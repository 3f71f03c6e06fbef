"""Every number that can be set has a range with two ends, and what is just outside of an end is refused by name.

The cases are made from the declarations, so that a new key is tested without a line here.
"""

from dataclasses import MISSING, is_dataclass
from typing import Any, get_origin

import pytest
from annotated_types import MaxLen, MinLen

from benchmarks.hostility.ranges import ENTRY, beside, ends, numbers, sections
from maml_bench.checked import construct
from maml_bench.declared import BOUNDS, annotations, options
from maml_bench.errors import MamlBenchError
from maml_bench.harness.sections import Test as OneTest

SECTIONS = sections()
LEAST: dict[str, Any] = {
    **{"rate": 0.1, "steps": 1, "meta_batch": 1, "way": 1, "shot": 1, "query": 1, "episodes": 1, "inner_steps": 1},
    **{"every": 1, "protocol": "paper", "split": "test", "setup": "maml", "value": 0.5, "source": "a paper"},
}
"""A value for each key that has no default."""


BESIDE = {"turns": {"latent": 1}, "latent": {"turns": 1}}
"""What must stand beside a key at its end, because a rule binds the two together."""


NUMBERS = [
    pytest.param(cls, place, kind, extras, id=f"{section} {'.'.join(place)}")
    for section, cls in SECTIONS.items()
    for place, kind, extras in numbers(cls)
]
ENDS = [
    pytest.param(*case.values[:3], bound, end, id=f"{case.id} {bound}")
    for case in NUMBERS
    for bound, end in ends(case.values[3])
]


def required(cls: type) -> dict[str, Any]:
    """The least table of a dataclass."""
    found = {option.key: LEAST[option.key] for option in options(cls) if option.default is MISSING}
    return found | ({"inner_steps": [0]} if cls is OneTest else {})


def given(cls: type, place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The least table of a dataclass with ``value`` at a place."""
    name, *rest = place
    beside_it = {key: one for key, one in BESIDE.get(name, {}).items() if key in annotations(cls)}
    least = required(cls) | beside_it
    if rest == [ENTRY]:
        return least | {name: [value] * 4}
    inside = annotations(cls)[name][0]
    return least | {name: given(inside, tuple(rest), value) if rest else value}


@pytest.mark.parametrize(("cls", "place", "kind", "extras"), NUMBERS)
def test_every_number_has_a_range_with_two_ends(cls, place, kind, extras):
    bounds = {bound for bound, _ in ends(extras)}
    assert bounds & {"ge", "gt"}, "a lower end"
    assert bounds & {"le", "lt"}, "an upper end"


@pytest.mark.parametrize(("cls", "place", "kind", "bound", "end"), ENDS)
def test_a_range_is_held_at_its_ends(cls, place, kind, bound, end):
    inside, outside = beside(kind, bound, end)
    construct(cls, given(cls, place, inside), "recipe 'x'", "there")
    with pytest.raises(MamlBenchError) as caught:
        construct(cls, given(cls, place, outside), "recipe 'x'", "there")
    key = ".".join(place).replace(f".{ENTRY}", "[0]")
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
