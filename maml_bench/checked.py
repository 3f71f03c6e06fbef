"""Plain data to frozen dataclasses, strictly: an unknown, missing or wrongly typed key is one clear sentence."""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from maml_bench.errors import MamlBenchError, nearest

T = TypeVar("T")


def construct(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build the dataclass ``cls`` from ``values``; ``where`` names the place in messages (``recipe 'x': inner``).

    Nested dataclasses come from tables, tuples from lists; integers are taken for floats; nothing else is converted.

    Raises:
        MamlBenchError: a key that ``cls`` does not have (with the nearest that it has), a missing key, a wrong type.
    """
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise MamlBenchError(f"{where} has no key {key!r}{nearest(key, known)}")
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise MamlBenchError(f"{where} lacks the key {name!r}")
    hints = get_type_hints(cls)
    return cls(**{key: _convert(value, hints[key], f"{where}: {key}") for key, value in values.items()})


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


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if value not in arguments:
            raise MamlBenchError(f"{where} is {value!r}, but must be one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(value, "a list", where)
        return tuple(_convert(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _wrong(value, "a table", where)
        return construct(hint, value, where)  # type: ignore[arg-type]
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise _wrong(value, "a table", where)
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise _wrong(
            value,
            {"int": "a whole number", "float": "a number", "str": "a string", "bool": "true or false"}[hint.__name__],
            where,
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(value, "a finite number", where)
    return value


def _wrong(value: Any, wanted: str, where: str) -> MamlBenchError:
    return MamlBenchError(f"{where} is {value!r}, but must be {wanted}")
