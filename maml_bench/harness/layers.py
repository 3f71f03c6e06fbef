"""The tables that a recipe is made of, in the order in which they lie over each other, each with where it stands.

Later tables win key by key: the recipes that are extended, the recipe, their ``presets.<preset>``, their
``setups.<setup>``, their ``setups.<setup>.presets.<preset>``, and what ``--set`` says. What names a run and its code
stands in none of them: it comes from the command.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from maml_bench.errors import MamlBenchError, nearest, shortened
from maml_bench.harness.catalogue import names_in
from maml_bench.harness.recipe_files import file_of, load_files, read_file
from maml_bench.own_code import is_file

PRESETS = ("smoke", "quick", "paper")
Chain = list[tuple[str, dict[str, Any]]]
_MARKS = ("extends", "presets", "setups", "setups_published", "default_setups", "fills")


_DATA = "tasks.data"
"""The key that names a data set of the user's."""
SETUP = "choose the setup with --setup"
NOT_OF_TABLES = {
    "preset": "choose the preset with --preset",
    "changed": "it is found by comparing the recipe with and without the settings",
    "setup.name": SETUP,
    "setup.file": SETUP,
    "setup.sha256": "it is computed from the file of the setup",
    "tasks.file": "name the file as tasks.name",
    "tasks.sha256": "it is computed from the file of the tasks",
}
"""Keys that no table and no setting may have, each with where its value comes from."""
NOT_OF_SETTINGS = NOT_OF_TABLES | dict.fromkeys(
    ("id", "title", "variant", "ranked", "published"), "put it into a recipe file of your own, which extends this one"
)
NOT_OF_SETTINGS["network"] = "choose the network with --network"
"""Keys that no setting may have: the name of an experiment, what was published of it, and the code that runs."""


@dataclass(frozen=True)
class Layer:
    """One table. ``kind`` says whom it speaks for: every setup, one setup, or the user's ``--set``; ``own`` whether it
    stands in the recipe itself and not in one that it extends."""

    source: str
    table: dict[str, Any]
    kind: Literal["recipe", "setup", "--set"]
    own: bool = True


def raw(recipe: str) -> dict[str, Any]:
    """The tables of a recipe over those of all that it extends, presets and setups not yet chosen.

    ``recipe`` is an id, an id with what fills its key (``id:filling``), or the path of a TOML file.

    Raises:
        MamlBenchError: there is no such recipe or file, or it extends what is not there.
    """
    return reduce(merged, (table for _, table in chain_of(recipe)), {})


def layers(chain: Chain, preset: str, setup: str, settings: Sequence[str]) -> list[Layer]:
    """The layers of a recipe, whose chain is given, for a preset and a setup, lowest first."""
    last = chain[-1][1]["id"]
    found = [Layer(_source(n), _without(t, _MARKS), "recipe", t["id"] == last) for n, t in chain]
    for name, table in chain:
        if preset in table.get("presets", {}):
            source = f"{_source(name)}, preset {preset}"
            found.append(Layer(source, table["presets"][preset], "recipe", table["id"] == last))
    special = [(name, t["id"] == last, t["setups"][setup]) for name, t in chain if setup in t.get("setups", {})]
    found += [Layer(_source(name, setup), _without(t, ("presets",)), "setup", own) for name, own, t in special]
    for name, own, table in special:
        if preset in table.get("presets", {}):
            found.append(Layer(f"{_source(name, setup)}, preset {preset}", table["presets"][preset], "setup", own))
    for layer in found:
        _refuse(layer, NOT_OF_TABLES)
    mine = [Layer("--set", setting(text), "--set") for text in settings]
    for layer in mine:
        _refuse(layer, NOT_OF_SETTINGS)
        if is_file(str(dict(leaves(layer.table)).get("tasks.name", ""))):
            raise MamlBenchError("tasks.name is set by --set, but it cannot be a file there: choose it with --tasks")
    return [*found, *mine]


def setting(text: str, option: str = "--set", example: str = "inner.rate=0.05") -> dict[str, Any]:
    """``a.b=value`` to ``{"a": {"b": value}}``; the value is read as TOML, else as a string.

    Raises:
        MamlBenchError: there is no key, or the value is an empty table, which would set nothing.
    """
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise MamlBenchError(f"{option} {shortened(text)} must read key=value, such as {example}")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # no TOML, a number of thousands of digits, or brackets without end
        parsed = value
    if isinstance(parsed, Mapping) and not any(True for _ in leaves(parsed)):
        raise MamlBenchError(f"{option} {shortened(text)} sets nothing, because the table has no value")
    for key in reversed(keys):
        parsed = {key: parsed}
    return parsed  # type: ignore[no-any-return]


def as_setting(key: str, value: Any) -> str:
    """The setting that gives ``key`` this ``value``; `setting` reads it back."""
    if isinstance(value, str) and dict(leaves(setting(f"{key}={value}"))) == {key: value}:
        return f"{key}={value}"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{key}={int(value)}"
    return f"{key}={as_toml(value)}"


def as_toml(value: Any) -> str:
    """A value as TOML writes it: numbers, texts, flags and lists as JSON does, tables with ``=``.

    Raises:
        TypeError, ValueError: TOML has no such value.
    """
    if value is None:
        raise TypeError("leave the key out to keep the recipe's value")
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key} = {as_toml(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False).replace("\x7f", "\\u007f")


def _refuse(layer: Layer, keys: Mapping[str, str]) -> None:
    """Raise MamlBenchError where a layer has one of ``keys``, which say where the value comes from instead."""
    for key in _tables_and_leaves(layer.table):
        if key in keys:
            raise MamlBenchError(f"{key} is set by {layer.source}, but it cannot be set: {keys[key]}")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, key by key in nested tables; lists are replaced."""
    found = dict(base)
    for key, value in over.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return found


def laid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As `merged`, of tables that may name a family of tasks or a network of the user's.

    Such a family has none of the options of the family before it, and no number that was published for that or for
    another network stands beside the results.
    """
    found = merged(base, over)
    tasks = over.get("tasks", {})
    own = "name" in tasks and tasks["name"] not in names_in("tasks")
    if own:
        found["tasks"] = dict(tasks)
    if own or "network" in over:
        found["published"] = list(over.get("published", ()))
    return found


def leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a table and those below it, such as ``inner.rate``, with their values."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _tables_and_leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys of a table and those below it, also those that hold tables."""
    for key, value in table.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _tables_and_leaves(value, f"{prefix}{key}.")


def chain_of(recipe: str) -> Chain:
    """Names and raw tables of what a recipe extends, and last of itself; see `raw`."""
    tables = load_files()
    if recipe.endswith(".toml"):
        name, colon, filling = recipe, "", ""
        own = read_file(Path(recipe))
        if own["id"] in tables:
            raise MamlBenchError(f"{recipe}: {own['id']!r} is the id of a recipe of this package: take another one")
        tables = {**tables, recipe: own}
    else:
        name, colon, filling = recipe.partition(":")
    if name not in tables or (colon and not (filling and "fills" in tables[name])):
        raise MamlBenchError(f"no recipe {recipe!r}{nearest(recipe, tables)}")
    names = [name]
    while "extends" in tables[names[-1]]:
        parent = tables[names[-1]]["extends"]
        if parent not in tables or parent in names:
            raise MamlBenchError(f"recipe {names[-1]!r} extends {parent!r}, which does not exist or leads back to it")
        names.append(parent)
    chain = [(name, tables[name]) for name in reversed(names)]
    if not any("presets" in table for _, table in chain):
        chain[-1] = (name, {**chain[-1][1], "presets": {preset: {} for preset in PRESETS}})
    if filling:
        fills = next(table["fills"] for _, table in reversed(chain) if "fills" in table)
        chain.append((name, {"id": recipe.replace(":", "-"), **setting(as_setting(fills, filling))}))
    return chain


def on_data(recipe: str, data: str | None, test_data: str | None) -> tuple[str, list[str]]:
    """The name of ``recipe`` on the user's data set ``data``, such as ``images-5w1s:birds``, and the settings that say
    that the tests are of ``test_data``. Nothing changes where both are None.

    Raises:
        MamlBenchError: the recipe is not for a data set of the user's, or names one already.
    """
    if data is None and test_data is None:
        return recipe, []
    if raw(recipe).get("fills") != _DATA:
        option = "--data" if data is not None else "--test-data"
        able = ", ".join(name for name, table in load_files().items() if table.get("fills") == _DATA)
        raise MamlBenchError(f"recipe {recipe!r} does not read {option}; recipes that do: {able}")
    settings = [] if test_data is None else [as_setting("tasks.test_data", test_data)]
    if data is None:
        return recipe, settings
    if recipe.endswith(".toml"):
        return recipe, [as_setting(_DATA, data), *settings]
    if ":" in recipe:
        raise MamlBenchError(f"the data set is named twice: by the recipe {recipe!r} and by --data {data}")
    return f"{recipe}:{data}", settings


def _source(recipe: str, setup: str | None = None) -> str:
    """Where a table stands, in words."""
    if recipe.endswith(".toml"):
        return recipe
    file = file_of(recipe, setup)
    return f"{file}, {recipe}" if file else recipe


def _without(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}
