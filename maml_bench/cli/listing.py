"""``maml-bench list``: what there is to run."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from maml_bench.cli.terminal import AsJson, print_json, print_paragraphs, say

SECTIONS = ("recipes", "setups", "tasks", "suites")


@dataclass(frozen=True)
class _Line:
    """An entry of the list: its name, what is said of it, and the same as data."""

    name: str
    text: str
    data: dict[str, Any]


def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[recipes|setups|tasks|suites|FILTER]",
            help="One of the four lists, or a word: then only entries that contain it are shown. Default: everything.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what there is to run: recipes (experiments), setups (methods), tasks (where episodes come from) and suites
    (tables of many runs).

    Examples: [cyan]maml-bench list setups[/cyan] · [cyan]maml-bench list omniglot[/cyan]
    """
    section = what if what in SECTIONS else None
    found = {name: entries() for name, entries in _ENTRIES.items() if section in (None, name)}
    if what is not None and section is None:
        found = {
            name: [line for line in lines if what.casefold() in f"{line.name} {line.text}".casefold()]
            for name, lines in found.items()
        }
    if not any(found.values()):
        from maml_bench.errors import MamlBenchError, nearest

        names = [*SECTIONS, *(line.name for entries in _ENTRIES.values() for line in entries())]
        raise MamlBenchError(f"nothing in the list contains {what!r}{nearest(str(what), names)}")
    if as_json:
        print_json({name: [line.data for line in lines] for name, lines in found.items()})
        return
    for name, lines in found.items():
        if lines:
            print_paragraphs(_TITLES[name], [(line.name, line.text) for line in lines])
    say("`maml-bench run RECIPE --setup SETUP` runs a setup on a recipe; `maml-bench list WORD` shows what contains it")


def _recipes() -> list[_Line]:
    from maml_bench.harness.catalogue import recipe_entries

    return [
        _Line(
            recipe.name,
            f"{_sentence(recipe.title)} Variant: {recipe.variant}. Outer steps: "
            + ", ".join(f"{preset} {steps:,}" for preset, steps in recipe.steps.items())
            + ".",
            {
                "recipe": recipe.name,
                "tasks": recipe.tasks,
                "title": recipe.title,
                "variant": recipe.variant,
                "presets": list(recipe.steps),
                "steps": recipe.steps,
                "default_setups": list(recipe.default_setups),
            },
        )
        for recipe in recipe_entries()
    ]


def _setups() -> list[_Line]:
    from maml_bench.harness.catalogue import names_in, setup_entry

    return [
        _Line(
            setup.name,
            f"{setup.title} {setup.about} ({setup.citation})",
            {"setup": setup.name, "title": setup.title, "citation": setup.citation, "about": setup.about},
        )
        for setup in map(setup_entry, names_in("setups"))
    ] + _offered("setup")


def _tasks() -> list[_Line]:
    from maml_bench.harness.catalogue import names_in, tasks_entry

    return [
        _Line(tasks.name, tasks.about, {"tasks": tasks.name, "about": tasks.about})
        for tasks in map(tasks_entry, names_in("tasks"))
    ] + _offered("tasks")


def _offered(what: str) -> list[_Line]:
    """What installed packages offer, with the package, which is not imported."""
    from maml_bench.harness.catalogue import offered

    return [
        _Line(name, f"Offered by the package {package}.", {what: name, "package": package})
        for name, package in offered(what)
    ]


def _suites() -> list[_Line]:
    from maml_bench import suites

    found = []
    for name in suites.suite_names():
        one = suites.suite(name)
        presets = ", ".join(dict.fromkeys(part.preset for part in one.parts))
        text = f"{_sentence(one.title)} Presets: {presets}."
        found.append(_Line(name, text, {"suite": name, "title": one.title, "presets": presets}))
    return found


def _sentence(words: str) -> str:
    """Words as a sentence: a capital first, a full stop at the end."""
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}."


_ENTRIES = {"recipes": _recipes, "setups": _setups, "tasks": _tasks, "suites": _suites}
_TITLES = {
    "recipes": "Recipes: experiments of a paper, each complete",
    "setups": "Setups: methods, one file each",
    "tasks": "Tasks: where the episodes of a recipe come from",
    "suites": "Suites: tables of many runs",
}
