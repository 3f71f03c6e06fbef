"""``maml-bench options``: every key of a recipe, what it means and where its value comes from."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maml_bench.cli.terminal import AsJson, Network, Settings, Tasks, print_json, put, recipe_names, setup_names

if TYPE_CHECKING:
    from maml_bench.harness.options import Row

COLUMNS = 80


def options(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Recipe name, or a recipe file.", autocompletion=recipe_names)
    ],
    preset: Annotated[str, typer.Option(help="smoke, quick or paper.")] = "quick",
    setup: Annotated[
        str | None, typer.Option(help="Setup by name or file. Default: the recipe's first.", autocompletion=setup_names)
    ] = None,
    tasks: Tasks = None,
    network: Network = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """List every key that [cyan]--set[/cyan] can change: value, type, range, default, meaning and source.

    Examples: [cyan]maml-bench options omniglot-5w1s --setup reptile[/cyan] ·
    [cyan]maml-bench options navigation --preset paper --json[/cyan]
    """
    from maml_bench.harness.options import options as options_of

    rows = options_of(recipe, preset=preset, setup=setup, tasks=tasks, network=network, settings=settings or ())
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    put("\n".join(_lines(rows)) + "\n")


def _lines(rows: "list[Row]") -> Iterator[str]:
    """The keys that are read, by section, and then those that are not, by the reason."""
    for section, members in groupby((row for row in rows if not row.unread), key=lambda row: row.key.split(".")[0]):
        yield f"[{section}]"
        for row in members:
            value = f"{len(row.value)} tests" if row.key == "test" else _text(row.value)
            yield from wrap(f"{row.key} = {value}", COLUMNS, subsequent_indent="    ")
            about = ". ".join(part.rstrip(".") for part in (row.meaning, _kind(row), f"Set by {row.source}") if part)
            yield from wrap(about.replace("Set by default", "It is the default") + ".", COLUMNS, **_INDENTED)
        yield ""
    idle = sorted((row for row in rows if row.unread), key=lambda row: row.unread)
    if idle:
        yield "Keys without effect here"
        for reason, members in groupby(idle, key=lambda row: row.unread):
            yield from wrap(f"{', '.join(row.key for row in members)}: {reason}.", COLUMNS, subsequent_indent="    ")


_INDENTED: dict[str, Any] = {"initial_indent": "    ", "subsequent_indent": "    "}


def _kind(row: "Row") -> str:
    """Type and range, and the default where the value is another one."""
    kind = f"{row.type} {row.range}" if row.type == "one of" else ", ".join(filter(None, (row.type, row.range)))
    kind = kind[0].upper() + kind[1:]
    return f"{kind}; default {_text(row.default)}" if row.default not in (None, row.value) else kind


def _text(value: Any) -> str:
    """A value as it would be written after ``--set key=``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return "none" if value is None else str(value)
