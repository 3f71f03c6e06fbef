"""The recipe files of the package, as raw tables. A file is TOML with one ``[[recipe]]`` per paper row.

What one setup does differently stands in ``setups/<setup>.toml``: a table per recipe id, laid over the recipe for that
setup, with the setup's published numbers.
"""

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from maml_bench.errors import MamlBenchError, nearest


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
            found[name] = table
    for file_name, content in _contents(folder / "setups"):
        setup = file_name.removesuffix(".toml")
        for name, table in content.items():
            if name not in found or setup in found[name].get("setups", {}):
                raise MamlBenchError(
                    f"recipe file setups/{file_name}: {name!r} is no recipe, or says itself what {setup} does"
                    f"{nearest(name, found)}"
                )
            numbers = [{"setup": setup, **row} for row in table.pop("published", [])]
            found[name].setdefault("setups", {})[setup] = table
            found[name].setdefault("setups_published", {})[setup] = numbers
    return found


def _contents(folder: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, content) of the TOML files in a folder of the package, by name."""
    for file in sorted(folder.iterdir() if folder.is_dir() else (), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            try:
                yield file.name, tomllib.loads(file.read_text(encoding="utf-8"))
            except tomllib.TOMLDecodeError as error:
                raise MamlBenchError(f"recipe file {file.name} cannot be read: {error}") from error
