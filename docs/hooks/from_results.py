"""What the site takes from the recipes and the records: settings, published numbers, and our numbers beside them."""

import base64
import json
import re
import tempfile
from collections.abc import Sequence
from functools import cache
from heapq import heapreplace
from pathlib import Path
from statistics import median
from typing import Any

from from_code import paragraphs
from markdown_text import code, table

from maml_bench import registry
from maml_bench.api.reading import paper_cells, read_records
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import Recipe, presets_of, resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.harness.run import CHECKPOINT_EVERY_S
from maml_bench.harness.run_state import KEEP
from maml_bench.record import Record
from maml_bench.report import four_ways as ways
from maml_bench.report import reproduction as paper
from maml_bench.report.speed.rows import load as load_speed
from maml_bench.report.speed.tables import write_speed_tables
from maml_bench.report.writing import SPEED_SUMMARY, write_tables

RESULTS = Path(__file__).parents[2] / "results"
METHODS = Path(__file__).parents[1] / "methods"


@cache
def whole(recipe: str, setup: str | None = None) -> Recipe:
    """A recipe with its whole budget, for one setup (default: its first)."""
    return resolve(recipe, preset=presets_of(recipe)[-1], setup=setup)


def settings(setup: str) -> str:
    """The settings of a setup under the recipes that bring a published number for it, and under those that stand for
    themselves."""
    rows = []
    for name, raw in load_files().items():
        own = own_numbers(raw, setup)
        if "fills" in raw or ("extends" in raw and not own) or not registry.offers(whole(name).tasks["name"], setup):
            continue
        recipe = whole(name, setup)
        outer, size = recipe.outer, recipe.outer.rate_at(0)
        rate = f", {size:g}" if size else ""
        steps = [f"{recipe.inner.steps}", f"{recipe.inner.rate:g}", f"{outer.steps:,}", f"{outer.meta_batch}"]
        rows.append([f"`{name}`", *steps, f"{outer.optimiser}{rate}", "yes" if own else "no"])
    head = ["recipe", "inner steps", "inner rate", "meta-steps", "tasks a step", "outer optimiser, rate", "published"]
    return f"{table(head, rows)}\n\nThe table shows the preset `paper`. Use it with `--setup {setup} --preset paper`."


def own_numbers(raw: dict[str, Any], setup: str) -> list[dict[str, Any]]:
    """The published numbers for a setup that a recipe's table brings itself, without those of what it extends."""
    shared = [row for row in raw.get("published", ()) if row["setup"] == setup]
    return [*shared, *raw.get("setups_published", {}).get(setup, ())]


def figure(recipe: str, kind: str) -> str:
    """A figure of ``report``, of the largest preset that has one, inside the page: figures lie outside of the site."""
    for preset in reversed(presets_of(recipe)):
        path = RESULTS / "figures" / f"{recipe}-{kind}-{preset}.png"
        if path.exists():
            content = base64.b64encode(path.read_bytes()).decode()
            return f'<img alt="{recipe}: {kind}, preset {preset}" src="data:image/png;base64,{content}">'
    return "There is no figure yet, because no run of this recipe is recorded."


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
    """Every published number that the recipes of a task family bring."""
    percent = registry.task_class(tasks).metric.name == "accuracy"
    rows = []
    for name, raw in load_files().items():
        if whole(name).tasks["name"] == tasks:
            for setup in registry.setup_names():
                for row in own_numbers(raw, setup):
                    shape = [f"{row['way']}-way {row['shot']}-shot" if row["way"] > 1 else f"{row['shot']}-shot"]
                    value = number(row["value"], row.get("ci95"), percent) + (
                        f" ({row['note']})" if "note" in row else ""
                    )
                    rows.append([setup, f"`{name}`", *shape, str(row["inner_steps"]), value, row["source"]])
    if not rows:
        return "The recipes of this family hold no published numbers."
    head = ["setup", "recipe", "test", "inner steps", "published value", "source"]
    return table(head, sorted(rows, key=lambda row: (row[0], row[1])))


def number(value: float, ci95: float | None, percent: bool) -> str:
    """A published value with its interval, an accuracy in percent."""
    scale, unit = (100, " %") if percent else (1, "")
    return f"{scale * value:.4g}" + (f" ± {scale * ci95:.3g}" if ci95 else "") + unit


def methods() -> str:
    """One line for every setup, with a link to its page."""
    pages = {
        setup: page.name
        for page in METHODS.glob("*.md")
        for setup in re.findall(r"<!-- generate: citation (\w+) -->", page.read_text(encoding="utf-8"))
    }
    rows = []
    for name in registry.setup_names():
        cls = registry.setup_class(name)
        rows.append([f"[`{name}`]({pages.get(name, f'{name}.md')})", cls.citation, code(paragraphs(cls)[0])])
    return table(["setup", "source", "in one sentence"], rows)


@cache
def records() -> tuple[Record, ...]:
    return tuple(record for _, record in read_records(RESULTS))


def results(setup: str) -> str:
    """Our numbers of one setup, from the committed records, with the published values."""
    mine = [record for record in records() if record.recipe["setup"]["name"] == setup]
    return summaries(mine) or "The project has no committed record of this setup yet."


def results_of(*tasks: str) -> str:
    """Our numbers on some task families, from the committed records, with the published values."""
    for name in tasks:
        registry.task_class(name)
    mine = [record for record in records() if record.recipe["tasks"]["name"] in tasks]
    return summaries(mine) or "The project has no committed record of these tasks yet."


def summaries(chosen: list[Record]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        written = [path for path in write_tables(chosen, Path(folder)) if path.name.endswith("-summary.md")]
        return "\n\n".join(f"**{p.name.removesuffix('-summary.md')}**\n\n{without_mark(p)}" for p in written)


def reproduction() -> str:
    """Every published number of the MAML paper, and ours beside it."""
    return paper.page(paper.reproduction(paper_cells(), records()))


def four_ways() -> str:
    """What each technique needs, reaches and costs on one machine."""
    return ways.page(records())


def speed() -> str:
    """The races against other libraries, from the committed records."""
    with tempfile.TemporaryDirectory() as folder:
        write_speed_tables(load_speed(RESULTS), Path(folder))
        return without_mark(Path(folder) / SPEED_SUMMARY)


def without_mark(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\n", 1)[1].strip()


INPUTS = {
    "setting": "keys of recipes with `--set`",
    "bookkeeping": "keys that name a run or its code",
    "recipe": "recipe files and files of setups",
    "verb": "arguments and options of commands",
    "record": "damaged records",
    "place": "places for results and data",
    "bit": "weights and checkpoints with one changed bit",
    "kill": "processes ended with SIGKILL",
    "all": "all",
}
"""The kinds of input of benchmarks/hostile.py, in words."""


def scaling() -> str:
    """What several processes of one machine saved, as benchmarks/scaling.py measured it."""
    file = RESULTS / "scaling.json"
    if not file.exists():
        return "Nothing has been measured yet."
    found = json.loads(file.read_text(encoding="utf-8"))
    commands = found["commands"]
    rows = [
        [str(at), f"{one['seconds']:.1f}", f"{one['load_average']:.1f}", str(one["jobs"])]
        for at, one in enumerate(commands, 1)
    ]
    seconds = {
        jobs: median(one["seconds"] for one in commands if one["jobs"] == jobs)
        for jobs in sorted({one["jobs"] for one in commands})
    }
    one, *others = seconds
    told = "; ".join(f"{jobs} processes: {seconds[one] / seconds[jobs]:.2f} times as fast as one" for jobs in others)
    cores = found["machine"]["cores"]
    loaded = min(one["load_average"] for one in commands)
    busy = (
        f"Other programs were at work all the time: before each command, the load average of the {cores} cores was at "
        f"least {loaded:.1f}. Two processes then also take more from the others than one does. So this ratio says "
        "little about a machine that is free."
        if loaded > 1
        else "No other program was at work."
    )
    return (
        f"{found['runs']} runs of `{found['recipe']}` with {found['steps']:,} meta-steps and one thread each were made "
        "with one process and with several, in turn. The seconds are those of the whole command, with the start of "
        f"Python and of the workers. By the medians: {told}. {busy}\n\n"
        + table(["command", "seconds", "load average before", "processes"], rows)
        + "\n\nThe largest files of a run were: "
        + ", ".join(f"{size / 1000:,.0f} kB of {what}" for what, size in sorted(found["bytes"].items()))
        + ". The checkpoint is removed at the end of the run."
    )


def workers() -> str:
    """How long the runs behind the committed records would take on many workers, by their seconds of training."""
    groups: dict[str, list[Record]] = {}
    for _, record in read_records(RESULTS):
        if record.recipe["preset"] == "paper" and record.kind == "run" and not record.earlier:
            groups.setdefault(record.machine_id, []).append(record)
    here, records = max(groups.items(), key=lambda group: len(group[1]))
    hours = sorted((record.train_s / 3600 for record in records), reverse=True)
    rows = [[f"{count:,}", f"{makespan(hours, count):.1f}", f"{sum(hours) / count:.2f}"] for count in (1, 2, 10, 100)]
    numbers = max(record.parameters or 0 for record in records)
    copies = KEEP + 3  # the meta-parameters, two moments of Adam, and those that may be selected
    checkpoint_mb = numbers * 4 * copies / 1e6
    rate = 100 * checkpoint_mb / CHECKPOINT_EVERY_S
    return (
        f"The machine `{here}` made {len(records)} runs of preset `paper`, which trained for {sum(hours):.1f} hours "
        f"together. The longest of them trained for {hours[0]:.1f} hours, and no number of workers makes it shorter. "
        f"The next one trained for {hours[1]:.1f} hours. On equal workers that take the longest runs first, the "
        "training takes:\n\n"
        + table(["workers", "hours", "hours if all runs were equally long"], rows)
        + f"\n\nThe largest network of these runs has {numbers:,} parameters. A checkpoint holds up to {copies} copies "
        f"of them, {checkpoint_mb:.1f} MB, and is written every {CHECKPOINT_EVERY_S:.0f} seconds. So 100 workers with "
        f"this network write {rate:.1f} MB a second to the shared folder, and less with smaller ones."
    )


def makespan(hours: Sequence[float], workers: int) -> float:
    """The hours until the last of several workers has ended, each of which takes the next run when it is free."""
    ends = [0.0] * workers
    for one in hours:
        heapreplace(ends, ends[0] + one)
    return max(ends)


def reliability() -> str:
    """How many hostile inputs ended badly, as benchmarks/hostile.py counted them."""
    file = RESULTS / "reliability.json"
    if not file.exists():
        return "Nothing has been counted yet."
    found = json.loads(file.read_text(encoding="utf-8"))
    bad = ["traceback", "silent", "hang", "lost"]
    counts = found["counts"]
    whole = found["corpus"]
    rows = [
        [INPUTS[kind], f"{whole[kind]:,}", *(f"{counts[kind][key]:,}" for key in ("cases", *bad))]
        for kind in INPUTS
        if kind in counts
    ]
    head = ["input", "made", "called", "tracebacks", "silent", "hangs", "lost"]
    changed = " with changes" if found["changed"] else ""
    told = f"The code was that of commit `{(found['commit'] or 'unknown')[:8]}`{changed}."
    missing = ", ".join(words for kind, words in INPUTS.items() if kind not in counts)
    told += f" No input of these kinds was called: {missing}." if missing else ""
    return f"{table(head, rows)}\n\n{told}"


def versions() -> str:
    """The versions of torch that benchmarks/torch_versions.py has measured."""
    file = RESULTS / "versions.json"
    if not file.exists():
        return "No version has been measured yet."
    rows = [
        [
            *(found[name] for name in ("torch", "python", "numpy")),
            *(f"{found[name]:.1f}" for name in ("traced_ms", "vmap_ms")),
            f"{found['ratio']:.3f}",
            *(f"{found[name]:.0e}" if found[name] else "0" for name in ("schedules", "golden")),
        ]
        for found in json.loads(file.read_text(encoding="utf-8"))
    ]
    return table(
        ["torch", "Python", "numpy", "`traced`, ms", "`vmap`, ms", "ratio", "schedules", "golden values"], rows
    )
