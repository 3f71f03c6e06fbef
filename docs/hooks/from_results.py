"""What the site takes from the recipes and the records: settings, published numbers, and our numbers beside them."""

import tempfile
from functools import cache
from pathlib import Path

from from_code import paragraphs
from markdown_text import code, table

from maml_bench import registry
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import Recipe, presets_of, resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.record import Record, load_all
from maml_bench.report.speed.rows import load as load_speed
from maml_bench.report.speed.writing import write_speed_tables
from maml_bench.report.writing import SPEED_SUMMARY, write_tables

RESULTS = Path(__file__).parents[2] / "results"


@cache
def whole(recipe: str, setup: str | None = None) -> Recipe:
    """A recipe with its whole budget, for one setup (default: its first)."""
    return resolve(recipe, preset=presets_of(recipe)[-1], setup=setup)


def settings(setup: str) -> str:
    """The settings of a setup under the recipes that have a published number for it, and under those that no other
    recipe is the base of."""
    rows, tables = [], load_files()
    for name, raw in tables.items():
        base = whole(name)
        if "fills" in raw or not registry.offers(base.tasks["name"], setup):
            continue
        recipe = whole(name, setup)
        published = any(row.setup == setup for row in recipe.published)
        if "extends" in raw and not published:
            continue
        inner, outer = recipe.inner, recipe.outer
        rows.append(
            [
                f"`{name}`", f"{inner.steps}", f"{inner.rate:g}", f"{outer.steps:,}", f"{outer.meta_batch}",
                f"{outer.optimiser}, {outer.rate:g}" if outer.rate else outer.optimiser,
                "yes" if published else "no",
            ]
        )  # fmt: skip
    head = ["recipe", "inner steps", "inner rate", "meta-steps", "tasks a step", "outer optimiser, rate", "published"]
    return (
        table(head, rows)
        + "\n\nThese are the settings of the preset `paper`. `maml-bench run RECIPE "
        + (f"--setup {setup}` uses them; the preset `quick` has fewer meta-steps.")
    )


def recipes(tasks: str) -> str:
    """The recipes of a task family."""
    rows = []
    for name, raw in load_files().items():
        recipe = whole(name)
        if recipe.tasks["name"] == tasks:
            run = f"{name}:NAME" if "fills" in raw else name
            rows.append([f"`{run}`", recipe.title, recipe.variant])
    if not rows:
        raise MamlBenchError(f"no recipe has the tasks {tasks!r}")
    return table(["recipe", "what it is", "settings from"], rows)


def published(tasks: str) -> str:
    """Every published number that the recipes of a task family hold."""
    rows = []
    for name in load_files():
        if whole(name).tasks["name"] != tasks:
            continue
        for setup in [s for s in registry.setup_names() if registry.offers(tasks, s)]:
            for row in whole(name, setup).published:
                if row.setup == setup:
                    scale = 100 if abs(row.value) <= 1 and tasks != "sinusoid" else 1
                    value = f"{scale * row.value:.4g}" + (f" ± {scale * row.ci95:.2g}" if row.ci95 else "")
                    rows.append([f"`{name}`", setup, f"{row.way}/{row.shot}", f"{row.inner_steps}", value, row.source])
    if not rows:
        return "The recipes of this family hold no published numbers."
    return table(["recipe", "setup", "way/shot", "inner steps", "published value", "source"], rows)


def methods() -> str:
    """One line for every setup, with a link to its page."""
    rows = []
    for name in registry.setup_names():
        cls = registry.setup_class(name)
        rows.append([f"[`{name}`]({name}.md)", cls.citation, code(paragraphs(cls)[0])])
    return table(["setup", "source", "in one sentence"], rows)


@cache
def records() -> tuple[Record, ...]:
    return tuple(record for _, record in load_all(RESULTS))


def results(setup: str) -> str:
    """Our numbers of one setup, from the committed records, with the published value in brackets."""
    mine = [record for record in records() if record.recipe["setup"]["name"] == setup]
    return summaries(mine) or "The project has no committed record of this setup yet."


def results_of(*tasks: str) -> str:
    """Our numbers on some task families, from the committed records, with the published value in brackets."""
    for name in tasks:
        registry.task_class(name)
    mine = [record for record in records() if record.recipe["tasks"]["name"] in tasks]
    return summaries(mine) or "The project has no committed record of these tasks yet."


def summaries(chosen: list[Record]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        written = [path for path in write_tables(chosen, Path(folder)) if path.name.endswith("-summary.md")]
        return "\n\n".join(f"**{p.name.removesuffix('-summary.md')}**\n\n{without_mark(p)}" for p in written)


def speed() -> str:
    """The races against other libraries, from the committed records."""
    with tempfile.TemporaryDirectory() as folder:
        write_speed_tables(load_speed(RESULTS), Path(folder))
        return without_mark(Path(folder) / SPEED_SUMMARY)


def without_mark(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\n", 1)[1].strip()
