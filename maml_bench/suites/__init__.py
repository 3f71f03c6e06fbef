"""Suites: tables of many runs, as data. A suite file is TOML: what stands in the table, and which runs fill it."""

import tomllib
from dataclasses import dataclass
from importlib import resources

from maml_bench.checked import construct
from maml_bench.errors import MamlBenchError, nearest

EVERY = "*"
"""In a part's recipes: those of all cells. In its setups: all that fit the tasks of a recipe."""


@dataclass(frozen=True)
class Cell:
    """A column of the table: the recipe behind it and a short name."""

    recipe: str
    column: str


@dataclass(frozen=True)
class Part:
    """Runs that belong to the suite under one preset: ``setups`` x ``recipes`` x ``seeds``."""

    preset: str
    recipes: tuple[str, ...]
    setups: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Suite:
    """``parts`` stand in the order in which they are to be run; a run that several name belongs to the first.
    ``figures`` says whether reports draw figures of it."""

    title: str
    cells: tuple[Cell, ...]
    parts: tuple[Part, ...]
    figures: bool = True

    def has(self, setup: str) -> bool:
        """Whether any part of the suite runs the setup; a suite without parts takes every setup."""
        named = {name for part in self.parts for name in part.setups}
        return not named or bool(named & {EVERY, setup})


def suite_names() -> list[str]:
    """The suites of the package, sorted."""
    folder = resources.files(__name__)
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        MamlBenchError: there is none, or its file has a wrong key or value.
    """
    if name not in suite_names():
        raise MamlBenchError(f"no suite {name!r}{nearest(name, suite_names())}")
    file = resources.files(__name__) / f"{name}.toml"
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise MamlBenchError(f"suite file {name}.toml cannot be read: {error}") from error
    return construct(Suite, content, f"suite {name!r}")
