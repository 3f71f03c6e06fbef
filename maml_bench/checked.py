"""Plain data to frozen dataclasses, strictly: an unknown, missing or wrongly typed key is one clear sentence.

Types and ranges are what the annotations of the fields say; pydantic checks them.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import field, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from maml_bench.declared import BOUNDS, annotations, words_of
from maml_bench.errors import MamlBenchError, nearest, shortened

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")


class UnknownKey(MamlBenchError):
    """A key that a table does not have."""


Place = tuple[int | str, ...]
STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
_KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dataclass_type": "a table",
    "dict_type": "a table",
}


def construct(cls: type[T], values: Mapping[str, Any], where: str, at: str = "") -> T:
    """Build the dataclass ``cls`` from ``values``.

    ``where`` names the whole in messages (``recipe 'x'``) and ``at`` the part of it that ``values`` are (``inner``).
    Nested dataclasses come from tables, tuples from lists; integers are taken for floats; nothing else is converted.

    Raises:
        MamlBenchError: a key that ``cls`` does not have (with the nearest that it has), a missing key, a wrong type, a
            value outside of its range, or a number that is not finite.
    """
    from pydantic import ValidationError  # a tenth of a second, which `maml-bench --help` need not wait for

    if not isinstance(values, Mapping):
        raise MamlBenchError(f"{where}: {at or 'the whole'} is {shortened(values)}, but must be a table")
    try:
        return cast(
            T, _adapter(cast(Any, cls)).validate_json(json.dumps(values, default=lambda value: math.nan), strict=True)
        )
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True, include_input=False)
    order = {"unexpected_keyword_argument": 0, "missing": 1, "too_short": 3}
    first = min(found, key=lambda detail: order.get(detail["type"], 2))
    kind = UnknownKey if first["type"] == "unexpected_keyword_argument" else MamlBenchError
    raise kind(_sentence(first, cls, values, where, at))


def construct_json(cls: type[T], text: bytes, convert: Callable[[Any], Any], where: str) -> T:
    """As `construct`, from the JSON text of a whole file, which is read once where nothing is wrong with it.

    ``convert`` brings what ``cls`` does not take as it stands to its present form, or refuses it.

    Raises:
        MamlBenchError: as `construct`, or the text is not JSON.
    """
    from pydantic import ValidationError

    try:
        return cast(T, _adapter(cast(Any, cls)).validate_json(text, strict=True))
    except ValidationError:
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise MamlBenchError(f"{where} is not valid JSON: {error}") from error
        except RecursionError as error:
            raise MamlBenchError(f"{where} is nested too deeply") from error
    return construct(cls, convert(raw), where)


def fits(cls: Any, values: Any) -> bool:
    """Whether plain data that came from JSON have the form of ``cls``; where not, `construct` says why."""
    from pydantic import ValidationError

    try:
        _adapter(cls).validate_python(values, strict=True)
    except ValidationError:
        return False
    return True


def later(default: Any) -> Any:
    """The field of an option that came after records were made: at its default it is left out of `plain`, so that the
    identity of what does not use it stays what it was."""
    return field(default=default, metadata={"later": True})


def plain(value: Any) -> Any:
    """A dataclass as JSON-ready data: tables, lists and numbers; see `later` for what is left out."""
    if is_dataclass(value):
        shown = (f for f in fields(value) if not (f.metadata.get("later") and getattr(value, f.name) == f.default))
        return {f.name: plain(getattr(value, f.name)) for f in shown}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def nearest_key(word: str, cls: type) -> str:
    """As `errors.nearest`, of the keys of a dataclass and the other words for them."""
    known = words_of(cls)
    hint = nearest(word, known)
    if hint.startswith(" (did you mean "):
        return f" (did you mean {known[hint.split(chr(39))[1]]!r}?)"
    return nearest(word, annotations(cls))


@cache
def _adapter(cls: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    _make_strict(cls)
    return TypeAdapter(cls)


def _make_strict(hint: Any) -> None:
    """Tell pydantic to be strict about a dataclass and those that are in it."""
    if isinstance(hint, type) and is_dataclass(hint):
        hint.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
        for inside, _ in annotations(hint).values():
            _make_strict(inside)
    else:
        for inside in get_args(hint):
            _make_strict(inside)


def _sentence(detail: "ErrorDetails", cls: type, values: Mapping[str, Any], where: str, at: str) -> str:
    """What is wrong with the value at one place, and what it must be."""
    place, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    if kind in ("unexpected_keyword_argument", "missing"):
        *table, key = place
        part = _dotted(tuple(table), at)
        owner = f"{where}: {part}" if part else where
        if kind == "missing":
            return f"{owner} lacks the key {key!r}"
        return f"{owner} has no key {key!r}{nearest_key(str(key), _class_at(cls, tuple(table)))}"
    if kind == "json_invalid":
        return f"{where} holds a text that is not Unicode"
    value: Any = values
    for step in place:
        try:
            value = value[step]
        except (TypeError, LookupError):
            break  # the rest of the place is the kind of value that was tried
    is_value = f"{where}: {_dotted(place, at)} is {shortened(value)}, but must be"
    if kind == "literal_error":
        choices = context["expected"].replace("' or '", "', '")
        one_of = "one of " if "', '" in choices else ""
        close = nearest(value, choices.strip("'").split("', '")) if isinstance(value, str) else ""
        return f"{is_value} {one_of}{choices}{close if 'did you mean' in close else ''}"
    for name in BOUNDS.keys() & context.keys():
        return f"{is_value} {BOUNDS[name][0]} {context[name]:g}"
    if kind == "too_short":
        return f"{is_value} a list of at least {context['min_length']}"
    if kind == "too_long":
        return f"{is_value} a list of at most {context['max_length']}"
    return f"{is_value} {_KINDS.get(kind, detail['msg'])}"


def _dotted(place: Place, at: str) -> str:
    """``inner.outside[0]``."""
    text = at
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _class_at(cls: type, place: Place) -> type:
    """The dataclass of the table at ``place``."""
    hint: Any = cls
    for step in place:
        hint = get_args(hint)[0] if isinstance(step, int) else annotations(hint)[step][0]
    return cast(type, hint)
