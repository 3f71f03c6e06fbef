"""Plain data to dataclasses: what fits is built, what does not is one sentence that names the key."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from maml_bench.checked import construct, later, plain
from maml_bench.errors import MamlBenchError


@dataclass(frozen=True)
class Wheel:
    radius: float
    spokes: int = 32


@dataclass(frozen=True)
class Bicycle:
    name: str
    wheel: Wheel
    gears: tuple[int, ...] = ()
    spare: tuple[Wheel, ...] = ()
    folding: bool = False
    colour: Literal["red", "blue"] = "red"
    price: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    anything: Any = None
    derived: int = field(default=7, init=False)


LEAST = {"name": "tourer", "wheel": {"radius": 0.35}}


def test_defaults_fill_what_is_not_said():
    assert construct(Bicycle, LEAST, "bicycle") == Bicycle("tourer", Wheel(0.35))


def test_every_kind_of_value_is_taken_as_it_should_be():
    values = {
        **LEAST,
        "gears": [11, 13],
        "spare": [{"radius": 1}, {"radius": 2.5, "spokes": 36}],
        "folding": True,
        "colour": "blue",
        "price": 900,
        "notes": {"rack": [1]},
        "anything": [1, 2],
    }
    built = construct(Bicycle, values, "bicycle")
    assert built == Bicycle(
        "tourer", Wheel(0.35), (11, 13), (Wheel(1.0), Wheel(2.5, 36)), True, "blue", 900.0, {"rack": [1]}, [1, 2]
    )
    assert isinstance(built.price, float)
    assert isinstance(built.spare[0].radius, float)


def test_a_table_is_copied():
    notes = {"rack": 1}
    built = construct(Bicycle, {**LEAST, "notes": notes}, "bicycle")
    notes["rack"] = 2
    assert built.notes == {"rack": 1}


@pytest.mark.parametrize("optional", [{"price": None}, {}])
def test_none_is_taken_where_it_is_allowed(optional):
    assert construct(Bicycle, {**LEAST, **optional}, "bicycle").price is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"colr": "red"}, "bicycle has no key 'colr' (did you mean 'colour'?)"),
        (
            {"xyzzy": 1},
            "bicycle has no key 'xyzzy' (known: anything, colour, folding, gears, name, notes, price, spare",
        ),
        ({"derived": 1}, "bicycle has no key 'derived'"),
        ({"name": 3}, "bicycle: name is 3, but must be a string"),
        ({"name": None}, "bicycle: name is None, but must be a string"),
        ({"wheel": 3}, "bicycle: wheel is 3, but must be a table"),
        ({"wheel": {}}, "bicycle: wheel lacks the key 'radius'"),
        ({"wheel": {"radius": 1.0, "spoke": 3}}, "bicycle: wheel has no key 'spoke' (did you mean 'spokes'?)"),
        ({"wheel": {"radius": "big"}}, "bicycle: wheel.radius is 'big', but must be a number"),
        ({"wheel": {"radius": True}}, "bicycle: wheel.radius is True, but must be a number"),
        ({"wheel": {"radius": 1.0, "spokes": 3.0}}, "bicycle: wheel.spokes is 3.0, but must be a whole number"),
        ({"wheel": {"radius": 1.0, "spokes": True}}, "bicycle: wheel.spokes is True, but must be a whole number"),
        ({"gears": 3}, "bicycle: gears is 3, but must be a list"),
        ({"gears": "11"}, "bicycle: gears is '11', but must be a list"),
        ({"gears": [1, "two"]}, "bicycle: gears[1] is 'two', but must be a whole number"),
        ({"spare": [{"radius": 1.0}, {}]}, "bicycle: spare[1] lacks the key 'radius'"),
        ({"folding": 1}, "bicycle: folding is 1, but must be true or false"),
        ({"colour": "rde"}, "bicycle: colour is 'rde', but must be one of 'red', 'blue'"),
        ({"price": "dear"}, "bicycle: price is 'dear', but must be a number"),
        ({"notes": [1]}, "bicycle: notes is [1], but must be a table"),
    ],
)
def test_what_does_not_fit_is_named(values, sentence):
    with pytest.raises(MamlBenchError) as caught:
        construct(Bicycle, {**LEAST, **values}, "bicycle")
    assert str(caught.value).startswith(sentence)


def test_a_missing_key_is_named():
    with pytest.raises(MamlBenchError, match=r"^bicycle lacks the key 'wheel'$"):
        construct(Bicycle, {"name": "tourer"}, "bicycle")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_no_record_could_hold_is_refused(value):
    with pytest.raises(MamlBenchError, match=r"wheel.radius is (nan|inf), but must be"):
        construct(Bicycle, {**LEAST, "wheel": {"radius": value}}, "bicycle")


@dataclass(frozen=True)
class Grown:
    size: int = 1
    parts: tuple[int, ...] = (1, 2)
    added: int = later(0)


def test_an_option_that_came_later_is_left_out_at_its_default():
    assert plain(Grown()) == {"size": 1, "parts": [1, 2]}
    assert plain({"a": (Grown(added=3),)}) == {"a": [{"size": 1, "parts": [1, 2], "added": 3}]}
    assert construct(Grown, plain(Grown(added=3)), "grown") == Grown(added=3)
