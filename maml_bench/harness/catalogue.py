"""What there is to run, read without importing torch: setups and tasks from their source, recipes from their tables."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maml_bench.errors import MamlBenchError, nearest
from maml_bench.harness.recipe_files import load_files
from maml_bench.own_code import offers, package_of

PRESETS = ("smoke", "quick", "paper")
_PACKAGE = Path(__file__).parents[1]
_SENTENCE_END = re.compile(r"(?<!\bal)(?<!\b[A-Z])\.(?=\s|$)")


@dataclass(frozen=True)
class SetupEntry:
    """One setup: its name on the command line, what it is called, where it was published, and what it does."""

    name: str
    title: str
    citation: str
    about: str


@dataclass(frozen=True)
class TasksEntry:
    """One task distribution: its name in recipes, and what its tasks are."""

    name: str
    about: str


@dataclass(frozen=True)
class RecipeEntry:
    """One recipe: ``steps`` are the outer steps of each preset that it has, with the first of its default setups."""

    name: str
    tasks: str
    title: str
    variant: str
    default_setups: tuple[str, ...]
    steps: dict[str, int]


def names_in(room: str) -> list[str]:
    """The names of the files in ``setups`` or ``tasks`` that define one of their kind, sorted."""
    return sorted(file.stem for file in (_PACKAGE / room).glob("*.py") if not file.stem.startswith("_"))


def offered(what: str) -> list[tuple[str, str]]:
    """What installed packages offer as ``setup`` or ``tasks``: names, each with its package and the version of that."""
    room = {"setup": "setups", "tasks": "tasks"}[what]
    points = offers(f"maml_bench.{room}", names_in(room))
    return [(name, package_of(point)) for name, point in points.items()]


def setup_entry(name: str) -> SetupEntry:
    """What the source of a setup says of it: the first sentences of the file and the class, and its citation."""
    tree = ast.parse((_PACKAGE / "setups" / f"{name}.py").read_text(encoding="utf-8"))
    for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for node in cls.body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "citation" and node.value is not None:
                return SetupEntry(name, _first_sentence(tree), ast.literal_eval(node.value), _first_sentence(cls))
    raise MamlBenchError(f"setup file {name}.py has no class with a citation")


def tasks_entry(name: str) -> TasksEntry:
    """What the source of a task distribution says of it: the first sentence of the file."""
    tree = ast.parse((_PACKAGE / "tasks" / f"{name}.py").read_text(encoding="utf-8"))
    return TasksEntry(name, _first_sentence(tree))


def recipe_entries() -> list[RecipeEntry]:
    """All recipes, in the order of their files."""
    tables = load_files()
    return [_recipe_entry(name, tables) for name in tables]


def _recipe_entry(name: str, tables: dict[str, dict[str, Any]]) -> RecipeEntry:
    chain = [tables[name]]
    while (parent := chain[-1].get("extends")) is not None:
        if parent not in tables or tables[parent] in chain:
            raise MamlBenchError(f"recipe {chain[-1]['id']!r} extends {parent!r}{nearest(parent, tables)}")
        chain.append(tables[parent])
    setups = tuple(_first(chain, "default_setups") or ())
    steps = {}
    for preset in PRESETS:
        if any(preset in table.get("presets", {}) for table in chain):
            own = f"setups.{setups[0]}." if setups else ""
            steps[preset] = next(
                (
                    found
                    for key in (f"{own}presets.{preset}.", own, f"presets.{preset}.", "")
                    if (found := _first(chain, f"{key}outer.steps")) is not None
                ),
                0,
            )
    tasks = _first(chain, "tasks.name")
    return RecipeEntry(name, tasks, _first(chain, "title"), _first(chain, "variant"), setups, steps)


def _first(chain: list[dict[str, Any]], key: str) -> Any:
    """The value of a dotted key in the first table that has it, None where none does."""
    return next((value for table in chain for value in _values(table, key.split("."))), None)


def _values(table: Any, keys: list[str]) -> Iterator[Any]:
    for key in keys:
        if not isinstance(table, dict) or key not in table:
            return
        table = table[key]
    yield table


def _first_sentence(node: ast.Module | ast.ClassDef) -> str:
    """The first sentence of a docstring in one line, without its markup."""
    paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
    line = " ".join(paragraph.replace("``", "").split())
    end = _SENTENCE_END.search(line)
    return line[: end.end()] if end else line
