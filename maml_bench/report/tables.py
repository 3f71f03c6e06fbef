"""The table of a task family: as numbers for CSV, and as text for Markdown, LaTeX and the terminal.

A row is one group of records that differ only in their seed, in one test after one number of inner steps.
"""

import math
from collections.abc import Iterable
from statistics import median
from typing import Any

import pandas as pd

from maml_bench.record import Record
from maml_bench.report.aggregate import Group, Score, aggregate, in_words, published_steps, unusual
from maml_bench.report.flat_rows import changed, commits, normalisation, trials
from maml_bench.report.formats import NONE, plus_minus, scale, three_digits, unit
from maml_bench.report.statistics import MIN_SEEDS
from maml_bench.report.training_time import contended, steps_per_s, training_time

COLUMNS = ("recipe", "setup", "preset", "test", "steps", "score", "± over", "seeds", "budget", "published", "verdict")
PAPER_COLUMNS = ("recipe", "setup", "test", "steps", "score", "seeds", "published", "verdict")
WIDE = 0.5
"""The columns of LaTeX tables, which must fit the width of a page."""
NOTHING: tuple[None, ...] = (None,)
_SCORE = (
    *("protocol", "split", "way", "shot", "query", "episodes", "normalisation", "checkpoint", "inner_steps", "mean"),
    *("ci95", "ci95_over", "lowest_seed", "highest_seed", "diverged_episodes", "published", "published_ci95"),
    *("published_note", "source", "verdict"),
)
_REGRET = ("regret", "regret_ci95")
_SEARCHED = ("tuned", "own_values_won")
_COUNTS = (*_SEARCHED, "way", "shot", "query", "inner_steps", "episodes", "diverged_episodes")


def numbers(records: Iterable[Record]) -> pd.DataFrame:
    """One row a group and test point: scores as the metric gives them (accuracy is a fraction), times in seconds.

    ``mean`` and ``ci95`` are those of `statistics.estimate`, and ``ci95_over`` says what the interval is over.
    ``seeds`` is the number of seeds, with the lowest and the highest of their means beside it. ``recipe_steps`` are the
    outer steps of the recipe's own budget. ``regret`` is the mean of the best expected score minus the score; families
    that do not know the best one have no such column. ``tuned`` is the number of trials that found the settings, and
    ``own_values_won`` that of the trials that the recipe's own values won; where there are none, there is no such
    column. Costs are medians over the seeds, and ``train_s_is`` says what
    the seconds of training are (`training_time.TrainingTime`; the kinds of all seeds). A missing number is NaN. A group
    that was never evaluated has one row.
    """
    rows = [
        {**_identity(group), **_score(group, score), **_cost(group)}
        for group in aggregate(records)
        for score in list(group.scores()) or NOTHING
    ]
    found = pd.DataFrame(rows).astype(dict.fromkeys(_COUNTS, "Int64"))
    unknown = [key for key in (*_SEARCHED, *_REGRET) if found[key].isna().all()]
    return found.drop(columns=unknown)


def summary(records: Iterable[Record], *, everything: bool = False) -> pd.DataFrame:
    """The table as text with the columns ``COLUMNS``, rounded: accuracy in percent, other scores with three digits.

    Every test is shown after the inner steps that have a published value for any setup, else after those of validation.
    Superseded records, and runs with a budget that is too small to rank setups by where their setup has others on this
    recipe, are left out unless ``everything`` is asked for. A recipe whose content differs between rows of one name
    carries its hash.
    """
    groups = aggregate(records)
    wanted = published_steps(record for group in groups for record in group.records)
    ranked = {(group.recipe, group.setup) for group in groups if group.ranked and not group.superseded}
    counting = [g for g in groups if not g.superseded and (g.ranked or (g.recipe, g.setup) not in ranked)]
    shown = groups if everything else counting
    contents: dict[tuple[str, ...], set[str]] = {}
    for group in shown:
        contents.setdefault(_name(group), set()).add(group.first.recipe_id)
    rows = [
        _words(group, score, several=len(contents[_name(group)]) > 1)
        for group in shown
        for score in group.shown(wanted) or NOTHING
    ]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def caption(records: Iterable[Record]) -> str:
    """What the cells of `summary` are, with the sources of the published values."""
    groups = aggregate(records)
    found = {s.published["source"] for group in groups for s in group.scores() if s.published}
    sources = f" Published: {'; '.join(sorted(found))}." if found else ""
    metrics: dict[str, dict[str, None]] = {}
    for group in groups:
        metrics.setdefault(unit(group.first.metric.name), {})[group.recipe] = None
    one = len(metrics) == 1
    names = [metric if one else f"{metric} ({', '.join(recipes)})" for metric, recipes in metrics.items()]
    return f"{'; '.join(names)}: mean ± 95 % confidence interval.{sources}"


def bold_best(frame: pd.DataFrame, groups: Iterable[Group]) -> pd.DataFrame:
    """A `summary` whose best score of each recipe, test and number of steps is bold, where several setups compete."""
    ascending = [group.recipe for group in groups if group.first.metric.higher_is_better]
    higher = frame["recipe"].str.split("[ ,]").str[0].isin(ascending)
    value = pd.to_numeric(frame["score"].str.split(" ").str[0].str.replace(",", ""), errors="coerce")
    tests = value.groupby([frame["recipe"], frame["test"], frame["steps"]])
    rivals = frame.groupby(["recipe", "test", "steps"])["setup"].transform("nunique")
    best = (value == tests.transform("max").where(higher, tests.transform("min"))) & (rivals > 1)
    return frame.assign(score=frame["score"].where(~best, "**" + frame["score"] + "**"))


def verdict(group: Group, score: Score) -> str | None:
    """What a row says about its published value; None where there is none.

    ``within``: our interval meets the published one, or holds the published value where it has no interval. Otherwise
    ``above by`` or ``below by`` the difference of the means, accuracy in percentage points. ``too wide``: the intervals
    meet, but ours reaches further than ``WIDE`` times the published value to each side, so it would meet almost any
    value. A row with fewer seeds than an interval over seeds needs says how many it has. A run that is no reproduction
    says why not: ``changed``
    settings or a search for them, ``partial`` budget, ``superseded`` by other records, another preset than the paper's,
    or ``diverged`` test tasks.
    """
    if score.published is None:
        return None
    if group.superseded:
        return "superseded"
    if group.changed:
        return "changed"
    if group.preset != "paper":
        return f"{group.preset} preset"
    if group.part < 1:
        return "partial"
    if score.apart is None:
        return "diverged"
    few = f" ({score.few})" if score.few else ""
    if not score.apart:
        wide = score.ci95 > WIDE * abs(score.published["value"])
        return f"{'too wide' if wide else 'within'}{few}"
    size = abs(score.apart) * scale(group.first.metric.name)
    form = ".1f" if group.first.metric.name == "accuracy" else three_digits(size)
    return f"{'above' if score.apart > 0 else 'below'} by {size:{form}}{few}"


def seeds_in_words(group: Group, score: Score) -> str:
    """The seeds, and how far their means differ: ``0, 1, 2: 18.0 to 273``; for two seeds both means."""
    metric, seeds = group.first.metric.name, ", ".join(map(str, group.seeds))
    means = [mean for mean in score.seed_means if math.isfinite(mean)]
    if len(means) < 2:
        return seeds
    ends = [plus_minus(end, None, metric) for end in (means if len(means) < MIN_SEEDS else (min(means), max(means)))]
    return f"{seeds}: {(' and ' if len(means) < MIN_SEEDS else ' to ').join(ends)}"


def published_in_words(reference: dict[str, Any], metric: str) -> str:
    """A published value with its interval and its note, such as ``-35.7 (2 runs)``."""
    value = plus_minus(reference.get("value"), reference.get("ci95"), metric)
    return f"{value} ({reference['note']})" if reference.get("note") else value


def _regret_in_words(score: Score) -> str:
    """``, regret 4.70 ± 0.10``; empty where the best score is not known."""
    regret = score.regret
    return f", regret {plus_minus(regret.mean, regret.ci95, 'regret')}" if regret else ""


def density_in_words(recipe: dict[str, Any]) -> list[str]:
    """What a number in nats depends on: the pixels, and the importance samples of a bound."""
    tasks, samples = recipe["tasks"], recipe["setup"].get("samples")
    return [f"{tasks['images']} {tasks['binary']}"] + ([f"{samples:,} samples"] if samples else [])


def _name(group: Group) -> tuple[str, ...]:
    return group.recipe, group.changed, group.setup, group.preset


def _words(group: Group, score: Score | None, several: bool) -> dict[str, str]:
    metric = group.first.metric.name
    row = {
        "recipe": group.recipe + group.about + (f" #{group.first.recipe_id}" if several else ""),
        "setup": group.setup,
        "preset": group.preset + ", unranked" * (not group.ranked) + ", superseded" * bool(group.superseded),
        "seeds": ", ".join(map(str, group.seeds)),
        "budget": group.budget,
        "score": group.first.status,
        **dict.fromkeys(("test", "steps", "± over", "published", "verdict"), NONE),
    }
    if score is None:
        return row
    test = score.evaluation
    lost = f", {score.diverged_episodes:,} of {score.values.size:,} diverged" if score.diverged_episodes else ""
    failure = "" if group.first.status == "ok" else f", {group.first.status}"
    reference = score.published or {}
    several_checkpoints = [score.checkpoint] if test.checkpoint in ("selected", "given") else []
    words = [in_words(test.way, test.shot), f"{test.query} query", *unusual(**vars(test)), *several_checkpoints]
    words += density_in_words(group.first.recipe) if metric == "nats" else []
    over = f"{len(group.seeds)} seeds" if score.estimate.over == "seeds" else f"{test.episodes:,} tasks"
    return row | {
        "test": ", ".join(words),
        "steps": str(score.inner_steps),
        "score": plus_minus(score.mean, score.ci95, metric) + _regret_in_words(score) + lost + failure,
        "± over": over,
        "seeds": seeds_in_words(group, score),
        "published": published_in_words(reference, metric),
        "verdict": verdict(group, score) or NONE,
    }


def _identity(group: Group) -> dict[str, Any]:
    record = group.first
    return {
        "tasks": group.tasks,
        "recipe": group.recipe,
        "recipe_id": record.recipe_id,
        "changed": changed(record) or None,
        "tuned": group.trials or None,
        "own_values_won": trials(group.records, own=True) or None,
        "setup": group.setup,
        "variant": record.recipe["variant"],
        "preset": group.preset,
        "ranked": group.ranked,
        "superseded": group.superseded or None,
        "weights": record.weights_id or None,
        "outer_steps": record.outer_steps,
        "recipe_steps": record.budget_steps,
        "task_version": record.task_version,
        "seeds": len(group.seeds),
        "metric": record.metric.name,
        "status": record.status,
        "reason": "; ".join(sorted({r.reason for r in group.records if r.reason})) or None,
    }


def _score(group: Group, score: Score | None) -> dict[str, Any]:
    if score is None:
        return dict.fromkeys((*_SCORE, *_REGRET))
    e, reference, regret = score.evaluation, score.published or {}, score.regret
    return {
        **{"protocol": e.protocol, "split": e.split, "way": e.way, "shot": e.shot, "query": e.query},
        **{"episodes": e.episodes, "normalisation": normalisation(group.first, e), "checkpoint": score.checkpoint},
        **{"inner_steps": score.inner_steps, "mean": score.mean, "ci95": score.ci95},
        **{"ci95_over": score.estimate.over, "lowest_seed": min(score.seed_means)},
        **{"highest_seed": max(score.seed_means), "diverged_episodes": score.diverged_episodes},
        **{"published": reference.get("value"), "published_ci95": reference.get("ci95")},
        **{"published_note": reference.get("note") or None, "source": reference.get("source")},
        **{"verdict": verdict(group, score)},
        **{"regret": regret.mean if regret else None, "regret_ci95": regret.ci95 if regret else None},
    }


def _cost(group: Group) -> dict[str, Any]:
    record, times = group.first, [training_time(r) for r in group.records]
    speeds = [speed for r in group.records if (speed := steps_per_s(r))]
    return {
        "train_s": median(time.seconds for time in times),
        "train_s_is": ", ".join(sorted({time.kind for time in times})),
        "steps_per_s": median(speeds) if speeds else None,
        "contended": any(contended(r) for r in group.records),
        "peak_memory_mib": median(r.peak_memory_bytes for r in group.records) / 2**20,
        "machine": record.machines,
        "machine_gflops": median(r.machine_gflops for r in group.records),
        **{"device": record.devices, "threads": record.threads, "schedule": record.schedule, "memory": record.memory},
        "commit": "+".join(dict.fromkeys(commits(r) for r in group.records)),
    }
