"""The recipe files of the package, as raw tables. A file is TOML with one ``[[recipe]]`` per paper row.

What one setup does differently stands in ``setups/<setup>.toml``: a table per recipe id, laid over the recipe for that
setup, with the setup's published numbers.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from maml_bench.checked import construct
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import read_bytes
from maml_bench.own_code import is_file


@dataclass(frozen=True)
class _Table:
    """The types of the keys of a recipe in a file of the user's. What the tables in it hold is checked later."""

    id: str
    title: str = ""
    variant: str = ""
    extends: str = ""
    default_setups: tuple[str, ...] = ()
    fills: str = ""
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    setups: dict[str, dict[str, Any]] = field(default_factory=dict)
    published: tuple[dict[str, Any], ...] = ()
    setups_published: dict[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)
    tasks: dict[str, Any] = field(default_factory=dict)
    setup: dict[str, Any] = field(default_factory=dict)
    inner: dict[str, Any] = field(default_factory=dict)
    outer: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    test: tuple[dict[str, Any], ...] = ()
    ranked: bool = True
    network: str = ""


@cache
def load_files() -> dict[str, dict[str, Any]]:
    """Raw recipe tables by id, from all recipe files of the package, in file order.

    Every call returns the same tables, so nobody may change them.

    Raises:
        MamlBenchError: a file is not TOML, an id is missing or stands twice, a setup's file names no recipe.
    """
    found: dict[str, dict[str, Any]] = {}
    folder = resources.files("maml_bench.recipes")
    for file_name, content in _contents(folder):
        if "recipe" not in content:
            raise MamlBenchError(f"recipe file {file_name} cannot be read: it has no [[recipe]]")
        for table in content["recipe"]:
            name = table.get("id")
            if not isinstance(name, str) or name in found:
                raise MamlBenchError(f"recipe file {file_name}: id {name!r} is missing or stands twice")
            found[name] = {**table, **({"setups": dict(table["setups"])} if "setups" in table else {})}
    for file_name, content in _contents(folder / "setups"):
        setup = file_name.removesuffix(".toml")
        for name, table in content.items():
            if name not in found or setup in found[name].get("setups", {}):
                raise MamlBenchError(
                    f"recipe file setups/{file_name}: {name!r} is no recipe, or says itself what {setup} does"
                    f"{nearest(name, found)}"
                )
            numbers = [{"setup": setup, **row} for row in table.get("published", [])]
            special = {key: value for key, value in table.items() if key != "published"}
            found[name].setdefault("setups", {})[setup] = special
            found[name].setdefault("setups_published", {})[setup] = numbers
    return found


def file_of(recipe: str, setup: str | None = None) -> str | None:
    """The file of the package that a recipe stands in, or what it says of ``setup``; None where there is none."""
    folder: Any = resources.files("maml_bench.recipes")
    if setup is not None and recipe in _headings(folder / "setups").get(f"{setup}.toml", ()):
        return f"setups/{setup}.toml"
    return next((name for name, ids in _headings(folder).items() if recipe in ids), None)


def read_file(path: Path) -> dict[str, Any]:
    """The raw table of a recipe in a file of the user's: one ``[[recipe]]``, or the table alone.

    Its ``id`` is by default the name of the file, its ``variant`` "mine", its setup MAML. Files of setups, tasks and
    networks that it names are looked for from its own folder.

    Raises:
        MamlBenchError: the file is missing or not TOML, or has several recipes.
    """
    try:
        content = tomllib.loads(read_bytes(path).decode())
    except OSError as error:
        raise MamlBenchError(f"recipe file {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, numbers or brackets without end
        raise MamlBenchError(f"recipe file {path} cannot be read: {str(error)[:200]}") from error
    tables = content.get("recipe", [content])
    one = isinstance(tables, list) and len(tables) == 1 and isinstance(tables[0], dict)
    if not one or (len(content) > 1 and "recipe" in content):
        raise MamlBenchError(f"recipe file {path} must have one [[recipe]], or the keys of one alone")
    table: dict[str, Any] = {"id": path.stem, **tables[0]}
    known = {f.name for f in fields(_Table)}
    construct(_Table, {key: value for key, value in table.items() if key in known}, f"recipe file {path}")
    _from_its_folder(table, path.parent)
    if "extends" in table:
        return table
    return {"title": table["id"], "variant": "mine", **table}


def _from_its_folder(table: dict[str, Any], folder: Path) -> None:
    """Put the folder of a recipe file before the Python files that a table of it, or one below it, names."""
    for key, value in table.items():
        if isinstance(value, dict):
            if key == "tasks" and is_file(str(value.get("name", ""))):
                value["name"] = str(folder / value["name"])
            _from_its_folder(value, folder)
        elif key == "network" and isinstance(value, str):
            table[key] = str(folder / value)
        elif key == "default_setups":
            table[key] = [str(folder / setup) if is_file(setup) else setup for setup in value]


@cache
def _headings(folder: Any) -> dict[str, list[str]]:
    """What each file of a folder of the package speaks of: the ids of its recipes, or its tables."""
    return {
        name: [table.get("id") for table in content["recipe"]] if "recipe" in content else list(content)
        for name, content in _contents(folder)
    }


def _contents(folder: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, content) of the TOML files in a folder of the package, by name."""
    for file in sorted(folder.iterdir() if folder.is_dir() else (), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            try:
                yield file.name, tomllib.loads(file.read_text(encoding="utf-8"))
            except tomllib.TOMLDecodeError as error:
                raise MamlBenchError(f"recipe file {file.name} cannot be read: {error}") from error
