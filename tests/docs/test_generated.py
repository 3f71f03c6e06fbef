"""The generated parts of the site: they are complete, and what they are made from has something to say."""

import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pandas
import pytest

from maml_bench import registry
from maml_bench.harness.recipe import Recipe
from maml_bench.record import Record
from tests.docs.blocks import PAGES, ROOT

HOOKS = ROOT / "docs" / "hooks"


@pytest.fixture(scope="module")
def generated() -> Iterator[ModuleType]:
    """The hook as mkdocs imports it: with its folder on the path."""
    sys.path.insert(0, str(HOOKS))
    try:
        yield __import__("generated")
    finally:
        sys.path.remove(str(HOOKS))


def directives(page: Path) -> list[str]:
    lines = page.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("<!-- generate: ").removesuffix(" -->") for line in lines if "<!-- generate: " in line]


@pytest.mark.parametrize("page", [p for p in PAGES if directives(p)], ids=lambda page: page.stem)
def test_every_part_that_a_page_asks_for_can_be_made(page: Path, generated: ModuleType) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(generated.DIRECTIVE.findall(text)) == len(directives(page)), "a directive is misspelt"
    assert "<!-- generate: " not in generated.expand(text)


def test_a_part_that_does_not_exist_is_refused_with_the_names_of_those_that_do(generated: ModuleType) -> None:
    with pytest.raises(generated.CannotGenerate, match=r"no generated part 'optoins'.*options"):
        generated.expand("text\n\n<!-- generate: optoins maml -->\n")
    with pytest.raises(generated.CannotGenerate, match="did you mean 'maml'"):
        generated.expand("<!-- generate: options mamll -->")


@pytest.mark.parametrize("setup", registry.setup_names())
def test_every_setup_has_a_page_with_all_its_parts(setup: str) -> None:
    """A page of several rules without training leaves settings and results to the pages of the tasks."""
    (page,) = (p for p in (ROOT / "docs" / "methods").glob("*.md") if f"citation {setup}" in directives(p))
    found = [part for part in directives(page) if part.split()[1] == setup]
    parts = ("citation", "options", "settings", "results") if page.stem == setup else ("citation", "options")
    assert found == [f"{part} {setup}" for part in parts]


@pytest.mark.parametrize("tasks", registry.task_names())
def test_every_task_family_has_its_options_recipes_and_results_on_one_page(tasks: str) -> None:
    pages = [p for p in PAGES if f"task_options {tasks}" in directives(p)]
    assert len(pages) == 1
    found = directives(pages[0])
    assert f"recipes {tasks}" in found
    assert any(part.startswith("results_of ") and tasks in part.split() for part in found)


SHOWN = [*map(registry.setup_class, registry.setup_names()), *map(registry.task_class, registry.task_names())]


@pytest.mark.parametrize("cls", [*SHOWN, Recipe, Record], ids=lambda cls: cls.__name__)
def test_the_code_describes_every_option_and_field(cls: type, generated: ModuleType) -> None:
    for path, inner in generated.from_code.nested(cls, ""):
        silent = [f.name for f in fields(inner) if f.init and not generated.from_code.meaning(inner, f)]
        assert not silent, f"{cls.__name__} {path}: no Doc says what these are: {', '.join(silent)}"


def test_only_fields_are_listed_as_options(generated: ModuleType) -> None:
    assert "tasks.metric" not in generated.part("task_options", "omniglot")
    assert "`--set tasks.conv.NAME=VALUE`" in generated.part("task_options", "omniglot")


def test_the_reference_of_the_command_line_has_every_command(generated: ModuleType) -> None:
    text = generated.part("command_line")
    for command in (
        "list",
        "run",
        "suite",
        "evaluate",
        "records",
        "show",
        "report",
        "compare",
        "data add",
        "data remove",
        "data verify",
    ):
        assert f"## `maml-bench {command}`" in text
    assert "[cyan]" not in text
    assert "[bold]" not in text


def test_numbers_of_a_setup_come_from_its_records_with_the_published_value(generated: ModuleType) -> None:
    text = generated.part("results", "maml")
    assert "**sinusoid**" in text
    assert "| 0.670 |" in text
    assert "fomaml" not in text


def test_the_published_sinusoid_value_lies_between_our_seeds_as_the_page_says() -> None:
    table = pandas.read_csv(ROOT / "results" / "tables" / "reproduction.csv")
    rows = table[(table.recipe == "sinusoid-k10") & (table.setup == "maml") & table.shown].set_index("inner_steps")
    assert rows.verdict[1].startswith("above")
    assert rows.lowest_seed[1] < rows.published[1] < rows.highest_seed[1]
    assert list(rows.verdict[[5, 10]]) == ["within", "within"]
