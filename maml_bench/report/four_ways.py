"""The table "learning to learn, four ways": what each technique needs, what it reaches, and what it costs."""

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from maml_bench.record import Record
from maml_bench.report.aggregate import Group, Score, aggregate, shape_in_words
from maml_bench.report.formats import NONE, csv, markdown, paragraphs, plus_minus, three_digits
from maml_bench.report.suite_tables import counts
from maml_bench.report.training_time import training_time
from maml_bench.suites import suite

SUITE = "four_ways"
NOT_RUN = "not run"
COLUMNS = ["problem", "technique", "setup", "parameters", "tasks", "test", "score", "seconds"]
TECHNIQUES = {
    "gradient steps": ("maml",),
    "comparison": ("matching", "protonet"),
    "memory": ("mann", "lstm", "snail"),
    "fast RL": ("rl2", "snail_rl"),
    "generative": ("vae", "conditional_vae", "sequential_generator"),
    "no learning": ("thompson",),
}
"""The setups of the suite by the technique that they stand for. ``vae`` sees no examples and is there as a floor."""
LEGEND = (
    "`parameters` counts all numbers that are learned over tasks. `tasks` counts those of the training, each time that "
    "one is drawn. `test` says how many examples of a new task are given, and the gradient steps on them. `score` is "
    "the mean with a 95 % interval over test tasks; nats are better when they are fewer. `seconds` are of training on "
    "one core; with a star the machine was shared, and they are those of undisturbed steps or an upper bound."
)


def four_ways(records: Iterable[Record]) -> tuple[pd.DataFrame, str]:
    """One row for each setup of each problem, under 100 columns in Markdown, and the machine of all rows.

    A run counts if its recipe is unchanged and its whole quick budget was used. The machine is the one with most rows;
    a setup that did not run there is "not run".
    """
    content = suite(SUITE)
    presets = {
        (recipe, setup): part.preset for part in content.parts for recipe in part.recipes for setup in part.setups
    }
    found: dict[str, dict[tuple[str, str], Group]] = {}
    for group in sorted(aggregate(record for record in records if counts(record)), key=lambda group: group.merit):
        one = (group.recipe, group.setup)
        if presets.get(one) == group.preset and group.first.status == "ok" and group.part >= 1:
            found.setdefault(f"{group.first.machines} {group.first.device}", {})[one] = group
    rows = Counter({machine: len(groups) for machine, groups in found.items()})
    machine = rows.most_common(1)[0][0] if rows else NONE
    groups = found.get(machine, {})
    ways = {setup: way for way, setups in TECHNIQUES.items() for setup in setups}
    columns = {cell.recipe: cell.column for cell in content.cells}
    lines = [
        {"problem": columns[recipe], "technique": ways[setup], "setup": setup, **_words(groups.get((recipe, setup)))}
        for recipe, setup in presets
    ]
    return pd.DataFrame(lines, columns=COLUMNS, dtype=str).fillna(""), machine


def page(records: Iterable[Record]) -> str:
    """The table in Markdown with its legend."""
    frame, machine = four_ways(records)
    return paragraphs([markdown(frame), LEGEND, f"All rows are of the quick presets, on machine {machine}."])


def files(records: Iterable[Record]) -> dict[str, str]:
    """The table as Markdown and CSV; no file where fewer than two of its problems have runs."""
    records = list(records)
    frame, _ = four_ways(records)
    if frame["problem"][frame["score"] != NOT_RUN].nunique() < 2:
        return {}
    return {"four-ways.md": page(records), "four-ways.csv": csv(frame)}


def _words(group: Group | None) -> dict[str, str]:
    if group is None:
        return {"score": NOT_RUN}
    record, score = group.first, max(group.headlines(), key=lambda score: score.evaluation.shot)
    time = training_time(record)
    tasks = record.recipe.get("outer", {}).get("meta_batch")
    star = "" if time.kind == "measured" else " *"
    return {
        "parameters": NONE if record.parameters is None else f"{record.parameters:,}",
        "tasks": f"{record.outer_steps * tasks:,}" if isinstance(tasks, int) else NONE,
        "test": _test(score),
        "score": plus_minus(score.mean, score.ci95, record.metric.name),
        "seconds": f"{time.seconds:{three_digits(time.seconds)}}{star}" if record.budget_steps else NONE,
    }


def _test(score: Score) -> str:
    steps = f", {score.inner_steps} step{'s' * (score.inner_steps != 1)}" if score.inner_steps else ""
    return shape_in_words(score.evaluation) + steps
