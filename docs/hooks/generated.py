"""The generated parts of the site: whatever the code or the records know is written by them, never by hand.

A page asks for a part with a comment on a line of its own, ``<!-- generate: options maml -->``. The comment is replaced
while mkdocs builds the page; the names that may stand in it are the keys of PARTS at the end of this file. A name that
does not exist stops the build.
"""

import re
from collections.abc import Callable
from typing import Any

import from_code
import from_results

from maml_bench.errors import MamlBenchError

DIRECTIVE = re.compile(r"^<!-- generate: (\w+)((?: [\w./-]+)*) -->$", re.MULTILINE)


class CannotGenerate(Exception):
    """A page asks for a part that the code cannot give."""


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by mkdocs for every page: the Markdown with its generated parts."""
    try:
        return expand(markdown)
    except CannotGenerate as error:
        raise SystemExit(f"{page.file.src_path}: {error}") from error


def expand(markdown: str) -> str:
    """``markdown`` with every directive replaced by what it asks for.

    Raises:
        CannotGenerate: there is no such part, or the code has nothing of that name.
    """
    return DIRECTIVE.sub(lambda found: part(found.group(1), *found.group(2).split()), markdown)


def part(name: str, *words: str) -> str:
    """One generated part as Markdown."""
    if name not in PARTS:
        raise CannotGenerate(f"there is no generated part {name!r} (known: {', '.join(sorted(PARTS))})")
    try:
        return PARTS[name](*words)
    except (MamlBenchError, TypeError, AttributeError, ImportError) as error:
        raise CannotGenerate(f"the part {' '.join([name, *words])!r} cannot be made: {error}") from error


PARTS: dict[str, Callable[..., str]] = {
    "citation": from_code.citation,
    "options": from_code.options,
    "task_options": from_code.task_options,
    "settings": from_results.settings,
    "recipes": from_results.recipes,
    "published": from_results.published,
    "methods": from_results.methods,
    "results": from_results.results,
    "results_of": from_results.results_of,
    "figure": from_results.figure,
    "reproduction": from_results.reproduction,
    "four_ways": from_results.four_ways,
    "speed": from_results.speed,
    "reliability": from_results.reliability,
    "versions": from_results.versions,
    "scaling": from_results.scaling,
    "workers": from_results.workers,
    "executor_options": from_code.executor_options,
    "recipe_keys": from_code.recipe_keys,
    "record_fields": from_code.record_fields,
    "exit_codes": from_code.exit_codes,
    "command_line": from_code.command_line,
    "public_names": from_code.public_names,
    "modules": from_code.modules,
}
