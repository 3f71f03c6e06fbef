"""The table of a task family: as numbers for CSV, as text for Markdown and LaTeX, and in short for the README.

A row is one group of records that differ only in their seed, in one test after one number of inner steps.
"""

import math
from collections.abc import Iterable
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from maml_bench.record import Record
from maml_bench.report.aggregate import Group, Score, aggregate, in_words, published_steps, unusual
from maml_bench.report.flat_rows import normalisation
from maml_bench.report.statistics import meets

NONE = "-"
SCORE_COLUMNS = (
    *("recipe", "setup", "variant", "preset", "budget", "seeds", "split", "way/shot/query", "inner steps", "protocol"),
    *("checkpoint", "normalisation", "score", "spread", "diverged", "published", "meets", "machine", "status"),
)
COST_COLUMNS = (
    *("recipe", "setup", "preset", "budget", "seeds", "train s", "steps/s", "peak MiB", "machine", "GFLOP/s"),
    *("device", "threads", "schedule", "memory", "status"),
)
_COUNTS = ("way", "shot", "query", "inner_steps", "episodes", "diverged_episodes")
_APART = ("recipe_id", "preset", "status", "task_version", "device", "threads", "schedule", "memory")
_SHAPE = ("way", "shot", "query", "protocol", "split", "statistics", "checkpoint")


def numbers(records: Iterable[Record]) -> pd.DataFrame:
    """The table as numbers: scores as the metric gives them (accuracy is a fraction), times in seconds, memory in MiB.

    ``mean`` and ``ci95`` are over tasks (`statistics.over_tasks`), ``spread`` is the standard deviation of the seeds'
    means, and costs are medians over the seeds. A missing number is NaN. A group that was never evaluated has one row.
    ``normalisation`` is what the table shows (`flat_rows.normalisation`), ``statistics`` what the test asked for.
    ``tested`` is ``checkpoint`` with the outer step at which it was made.
    """
    records = list(records)
    wanted = published_steps(records)
    table: list[dict[str, Any]] = []
    for group in aggregate(records):
        scores: list[Score | None] = [*group.shown(wanted)]
        table += [{**_identity(group), **_score(group, score), **_cost(group)} for score in scores or [None]]
    return pd.DataFrame(table).astype(dict.fromkeys(_COUNTS, "Int64"))


def text(frame: pd.DataFrame) -> pd.DataFrame:
    """`numbers` as rounded text: accuracy in percent with one decimal, other scores with three digits.

    Columns are those of ``SCORE_COLUMNS`` and ``COST_COLUMNS``. A recipe whose content differs between rows of one name
    carries its hash: ``omniglot-5w1s #1a2b3c4d``.
    """
    cells = [_cells(row) for row in frame.to_dict("records")]
    contents = frame.groupby(["recipe", "setup", "preset"])["recipe_id"].transform("nunique")
    for cell, count, content in zip(cells, contents, frame["recipe_id"], strict=True):
        cell["recipe"] += f" #{content}" if count > 1 else ""
    return pd.DataFrame(cells, dtype=str)


def summary(records: Iterable[Record]) -> pd.DataFrame:
    """The table in short: a row per setup and number of inner steps, and a column per test.

    Where there is only one test, after several numbers of inner steps, these become the columns. A cell such as
    ``98.3 ± 0.5 (98.7 ± 0.4)`` is the mean with its 95 % interval over tasks, and in brackets the published value. Only
    the largest budget of each recipe and setup is shown, after the inner steps that have a published value for this
    setup, else after those of validation. Each set of weights from files has rows of its own. The machine is named only
    where there are several. ``records`` must be of one task family, and there must be at least one.
    """
    frame = _headlines(numbers(records))
    rows: dict[tuple[Any, ...], dict[Any, str]] = {}
    head = ["recipe", "setup", "budget", "seeds", "machine", "inner steps"]
    for raw, cell in zip(frame.to_dict("records"), text(frame).to_dict("records"), strict=True):
        cell["budget"] += "" if raw["ranked"] else ", unranked"
        key = (*(cell[name] for name in head), *(raw[name] for name in _APART))
        row = rows.setdefault(key, {name: cell[name] for name in head})
        if pd.isna(raw["shot"]):
            row["inner steps"] = raw["status"]
            continue
        failure = "" if raw["status"] == "ok" else f", {raw['status']}"
        reference = "" if cell["published"] == NONE else f" ({cell['published'].split(' [')[0]})"
        lost = f", {raw['diverged_episodes']} diverged" if raw["diverged_episodes"] else ""
        row[tuple(raw[name] for name in _SHAPE)] = cell["score"] + lost + failure + reference
    shapes = sorted({shape for row in rows.values() for shape in row if isinstance(shape, tuple)}, key=_usual_first)
    table = pd.DataFrame([[row.get(key, "") for key in (*head, *shapes)] for row in rows.values()], dtype=str)
    table.columns = pd.Index([*head, *_headings(shapes)])
    if len(shapes) == 1 and len({key[: len(head) - 1] for key in rows}) < len(rows):
        table = _by_inner_steps(table)
    return table if table["machine"].nunique() > 1 else table.drop(columns="machine")


def _by_inner_steps(table: pd.DataFrame) -> pd.DataFrame:
    """The summary of one test with a column per number of inner steps, such as ``20-shot, 1 step``."""
    *head, steps, shape = table.columns
    wide = table.pivot(index=head, columns=steps, values=shape).fillna("")
    wide = wide.reindex(pd.MultiIndex.from_frame(table[head].drop_duplicates()))
    after = sorted(filter(str.isdigit, wide.columns), key=int)
    for untested in wide.columns.difference(after):  # the status of runs that were never evaluated
        wide.loc[(wide[after] == "").all(axis=1), after[0]] = untested
    wide = wide[after]
    wide.columns = pd.Index([f"{shape}, {n} step{'s' * (n != '1')}" for n in after])
    return wide.reset_index()


def _usual_first(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sort key of a test: way, shot and query; then the paper's protocol and transductive tests first."""
    *sizes, protocol, split, statistics, checkpoint = shape
    return (*sizes, protocol != "paper", protocol, split, statistics != "transductive", statistics, checkpoint)


def _headlines(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `numbers` that `summary` shows."""
    content = ["preset", "recipe_id", "outer_steps"]
    kept = []
    plain = frame[~frame["changed"]]
    for _, runs in (plain if len(plain) else frame).groupby(["recipe", "setup", "weights"], sort=False):
        top = runs.iloc[int(runs["outer_steps"].to_numpy().argmax())]
        best = runs[(runs[content] == top[content]).all(axis=1)]
        steps = set(best.loc[best["published"].notna(), "inner_steps"]) or {top["own_steps"]}
        for _, test in best.groupby([*_SHAPE, "machine", *_APART], dropna=False, sort=False):
            chosen = test[test["inner_steps"].isin(steps)]
            kept.append(chosen if len(chosen) else test.tail(1))
    shown: pd.DataFrame = pd.concat(kept).sort_index().reset_index(drop=True)
    return shown


def unit(metric: str) -> str:
    """The metric's name with the unit it is shown in: accuracy in percent, others as they are."""
    return "accuracy, %" if metric == "accuracy" else metric.upper() if len(metric) <= 3 else metric


def caption(frame: pd.DataFrame) -> str:
    """What the cells of `summary` are, from the table of `numbers` behind it, with the sources of published values."""
    sources = "; ".join(sorted(frame["source"].dropna().unique()))
    published = f" In brackets: the published value ({sources})." if sources else ""
    return f"{unit(frame['metric'].iloc[0])}: mean ± 95 % confidence interval over the test tasks.{published}"


def plus_minus(mean: float, ci95: float | None, metric: str) -> str:
    """``98.7 ± 0.4`` for accuracy, in percent; ``0.670 ± 0.052`` for others, to three digits of the mean."""
    if not math.isfinite(mean):
        return NONE
    scale = 100.0 if metric == "accuracy" else 1.0
    size = abs(mean) * scale
    form = ".1f" if metric == "accuracy" else three_digits(size)
    known = ci95 is not None and math.isfinite(ci95)
    return f"{mean * scale:{form}} ± {ci95 * scale:{form}}" if known and ci95 is not None else f"{mean * scale:{form}}"


def three_digits(size: float) -> str:
    """The format that shows a number of this ``size`` with three digits, and thousands set apart."""
    if size >= 1e5 or 0 < size < 1e-4:
        return ".2e"
    return f",.{max(0, 2 - math.floor(math.log10(size))) if size else 3}f"


def _headings(shapes: list[tuple[Any, ...]]) -> list[str]:
    """A column heading per test, with how it differs from the common one; query and checkpoint only where needed."""
    tests = [dict(zip(_SHAPE, shape, strict=True)) for shape in shapes]
    short = [
        ", ".join([in_words(int(t["way"]), int(t["shot"])), *unusual(normalisation=t["statistics"], **t)])
        for t in tests
    ]
    by_query = _told_apart(short, [f"{t['query']:.0f} query" for t in tests])
    return _told_apart(by_query, [str(t["checkpoint"]) for t in tests])


def _told_apart(names: list[str], words: list[str]) -> list[str]:
    """The names; where several are the same, each is followed by its word, which tells them apart."""
    alike = {name: {word for n, word in zip(names, words, strict=True) if n == name} for name in names}
    return [f"{name}, {word}" if len(alike[name]) > 1 else name for name, word in zip(names, words, strict=True)]


def _identity(group: Group) -> dict[str, Any]:
    record = group.first
    return {
        "tasks": group.tasks,
        "recipe": group.recipe,
        "recipe_id": record.recipe_id,
        "setup": group.setup,
        "variant": record.recipe["variant"],
        "preset": group.preset,
        "ranked": group.ranked,
        "budget": group.budget,
        "outer_steps": record.outer_steps,
        "budget_steps": record.budget_steps,
        "task_version": record.task_version,
        "seeds": " ".join(map(str, group.seeds)),
        "weights": record.weights_id,
        "metric": record.metric.name,
        "own_steps": group.own_steps,
        "changed": group.changed,
    }


def _score(group: Group, score: Score | None) -> dict[str, Any]:
    if score is None:
        keys = (*_SHAPE, "inner_steps", "mean", "ci95", "spread", "episodes", "tested", "diverged_episodes")
        missing = dict.fromkeys((*keys, "published", "published_ci95", "source", "meets"))
        return {**missing, "normalisation": normalisation(group.first, None)}
    e, reference = score.evaluation, score.published or {}
    value, ci95 = reference.get("value"), reference.get("ci95")
    better = group.first.metric.higher_is_better
    lost = not np.isfinite(
        score.values
    ).all()  # a mean over the finite scores alone says nothing about the published one
    return {
        **{"protocol": e.protocol, "split": e.split, "way": e.way, "shot": e.shot, "query": e.query},
        **{"normalisation": normalisation(group.first, e), "statistics": e.normalisation},
        **{"checkpoint": e.checkpoint, "tested": score.checkpoint},
        **{"inner_steps": score.inner_steps, "mean": score.mean, "ci95": score.ci95, "spread": score.spread},
        **{"episodes": score.values.size, "diverged_episodes": score.diverged_episodes},
        **{"published": value, "published_ci95": ci95, "source": reference.get("source")},
        "meets": None if value is None or lost else meets(score.mean, score.ci95, value, ci95, better),
    }


def _cost(group: Group) -> dict[str, Any]:
    record, speeds = group.first, [r.steps_per_s for r in group.records if r.steps_per_s]
    return {
        "train_s": median(r.train_s for r in group.records),
        "steps_per_s": median(speeds) if speeds else None,
        "peak_memory_mib": median(r.peak_memory_bytes for r in group.records) / 2**20,
        "machine": record.machines,
        "machine_gflops": median(r.machine_gflops for r in group.records),
        **{"device": record.device, "threads": record.threads, "schedule": record.schedule, "memory": record.memory},
        "status": record.status,
        "reason": "; ".join(sorted({r.reason for r in group.records if r.reason})) or None,
    }


def _cells(row: dict[Any, Any]) -> dict[str, str]:
    def known(key: str) -> bool:
        return not pd.isna(row[key])

    def shown(key: str, form: str = "") -> str:
        return format(row[key], form) if known(key) else NONE

    evaluated, metric = known("shot"), row["metric"]
    reference = NONE
    if known("published"):
        reference = plus_minus(row["published"], row["published_ci95"], metric) + f" [{row['source']}]"
    return {
        **{key: shown(key) for key in ("recipe", "setup", "variant", "preset", "budget", "split", "protocol")},
        "seeds": row["seeds"].replace(" ", ", "),
        "way/shot/query": f"{row['way']:.0f}/{row['shot']:.0f}/{row['query']:.0f}" if evaluated else NONE,
        "inner steps": shown("inner_steps", ".0f"),
        "checkpoint": shown("tested"),
        "normalisation": shown("normalisation"),
        "score": plus_minus(row["mean"], row["ci95"], metric) if known("mean") else NONE,
        "spread": plus_minus(row["spread"], None, metric) if known("spread") else NONE,
        "diverged": f"{row['diverged_episodes']:,.0f} of {row['episodes']:,.0f}" if evaluated else NONE,
        "published": reference,
        "meets": shown("meets"),
        "train s": shown("train_s", ",.1f"),
        "steps/s": shown("steps_per_s", ",.1f"),
        "peak MiB": shown("peak_memory_mib", ",.0f"),
        "machine": shown("machine"),
        "GFLOP/s": shown("machine_gflops", ",.0f"),
        **{key: shown(key) for key in ("device", "threads", "schedule", "memory")},
        "status": row["status"] + ("" if row["ranked"] else ", unranked"),
    }
