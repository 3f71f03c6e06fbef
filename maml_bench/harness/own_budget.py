"""Records beside their recipe's own budget, read without importing torch."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, reduce
from pathlib import Path
from typing import Any

from maml_bench.errors import MamlBenchError
from maml_bench.harness.layers import chain_of, layers, merged
from maml_bench.record import Record
from maml_bench.record_files import load_all


def read_records(folder: Path) -> Iterator[tuple[Path, Record]]:
    """(path, record) for every run record below ``folder``, each beside its recipe's own budget.

    ``Record.budget_steps`` is then the number of outer steps that the recipe has, not what ``--set outer.steps`` made
    of it. It stays as it is for a recipe that is not in the package.

    Raises:
        MamlBenchError: a folder cannot be read.
    """
    for path, record in load_all(folder):
        yield path, with_own_budget(record)


def with_own_budget(record: Record) -> Record:
    """The record, with the number of outer steps that its recipe has in the package."""
    changed = record.recipe.get("changed") or ()
    if not record.budget_steps or not any(setting.startswith("outer.steps=") for setting in changed):
        return record
    content = record.recipe
    own = _own_steps(content["id"], content["preset"], content["setup"]["name"])
    return record if own is None else replace(record, budget_steps=own)


@cache
def _own_steps(recipe: str, preset: str, setup: str) -> int | None:
    """The outer steps of a recipe of the package under a preset; None where it has no such recipe or preset."""
    try:
        chain = chain_of(recipe)
    except MamlBenchError:
        return None
    whole: dict[str, Any] = reduce(merged, (table for _, table in chain), {})
    if preset not in whole.get("presets", {}):
        return None
    content: dict[str, Any] = reduce(merged, (layer.table for layer in layers(chain, preset, setup, ())), {})
    steps = content.get("outer", {}).get("steps")
    return steps if isinstance(steps, int) else None
