"""Compare two sets of records: did a change make results better or worse, or steps slower or faster?

A difference counts when it is significant and larger than a threshold. Scores are compared by a paired bootstrap over
the test episodes that both runs have (`bootstrap.paired_bootstrap`), times by the ratio of the median seconds per outer
step (`statistics.ratio_of_medians`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np

from maml_bench.errors import MamlBenchError
from maml_bench.record import Metric, Record, load, load_all
from maml_bench.report.aggregate import Group, Score, published_steps, shape_in_words, shape_of
from maml_bench.report.bootstrap import paired_bootstrap
from maml_bench.report.statistics import Array, Interval, Timing, over_tasks, ratio_of_medians

Verdict = Literal["same", "better", "worse", "incomparable"]
Pair = tuple[Record, Record]
Name = tuple[str, str, str]
BOOTSTRAP_SEED = 0
RATE_TOLERANCE = 1.25  # two runs whose measured convolution rates differ by a larger factor have no comparable seconds


@dataclass(frozen=True)
class Finding:
    """One comparison.

    ``quantity`` is the metric's name (``base``, ``new`` and ``difference`` = new - base in its units),
    ``outer_step_s`` (seconds per outer step; ``difference`` is the relative change new / base - 1) or, with nothing
    measured, ``status``, ``recipe`` or ``seed``. ``low`` and ``high`` are the ends of the difference's interval.
    """

    recipe: str
    setup: str
    preset: str
    quantity: str
    verdict: Verdict
    reason: str
    shape: str | None = None
    inner_steps: int | None = None
    seeds: tuple[int, ...] = ()
    base: float | None = None
    new: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    findings: list[Finding]

    @property
    def worse(self) -> bool:
        """Whether any quantity is worse, significantly and beyond its threshold."""
        return any(finding.verdict == "worse" for finding in self.findings)


@dataclass(frozen=True)
class _Rules:
    quality: float
    relative: float
    time: float
    across_machines: bool
    alpha: float


def compare(
    base: str | Path,
    new: str | Path,
    *,
    quality_threshold: float = 0.01,
    relative_threshold: float = 0.10,
    time_threshold: float = 0.10,
    across_machines: bool = False,
    alpha: float = 0.05,
) -> Comparison:
    """Compare the records of ``new`` with those of ``base``, each a results folder or one record file.

    Runs belong together when their recipes have the same content (``recipe_id``) and their seed is the same; of several
    machines, the same one is preferred. Scores are compared at the inner steps with a published value, else at the
    last.

    Args:
        quality_threshold: smallest change of accuracy that counts, a fraction (0.01 is one point).
        relative_threshold: smallest change of any other metric that counts, relative to base.
        time_threshold: smallest relative change of seconds per outer step that counts.
        across_machines: compare seconds although machine, device, threads or schedule differ.
        alpha: level of the bootstrap intervals, two-sided.

    Returns:
        A Comparison: ``findings`` has one Finding for each quantity that both sides measured, and ``worse`` says
        whether any of them is worse. ``pandas.DataFrame(comparison.findings)`` is a table of them.

    Raises:
        MamlBenchError: a record cannot be read, or the two sides have no recipe and setup in common.
    """
    rules = _Rules(quality_threshold, relative_threshold, time_threshold, across_machines, alpha)
    old, fresh = _load(Path(base)), _load(Path(new))
    shared = {r.recipe_id for r in old} & {r.recipe_id for r in fresh}
    findings: list[Finding] = []
    for content in sorted(shared):
        mine = ([r for r in old if r.recipe_id == content], [r for r in fresh if r.recipe_id == content])
        findings += _contents(*mine, rules)
    for name in sorted({_name(r) for r in old} & {_name(r) for r in fresh}):
        if not any(_name(r) == name and r.recipe_id in shared for r in (*old, *fresh)):
            findings.append(Finding(*name, "recipe", "incomparable", "the content of the recipe has changed"))
    if not findings:
        raise MamlBenchError(f"{base} and {new} have no recipe and setup in common, so there is nothing to compare")
    return Comparison(sorted(findings, key=lambda f: (f.recipe, f.preset, f.setup)))


def _load(path: Path) -> list[Record]:
    if not path.exists():
        raise MamlBenchError(f"there is no results folder or record at {path}")
    records = [record for _, record in load_all(path) if record.kind == "run"] if path.is_dir() else [load(path)]
    if not records:
        raise MamlBenchError(f"there are no records below {path}")
    return records


def _name(record: Record) -> Name:
    return record.recipe["id"], record.recipe["setup"]["name"], record.recipe["preset"]


def _contents(old: list[Record], fresh: list[Record], rules: _Rules) -> list[Finding]:
    """All findings about the runs of one recipe content."""
    name = _name(fresh[0])
    pairs = _pairs(old, fresh)
    if not pairs:
        return [Finding(*name, "seed", "incomparable", "the two sides have no seed in common")]
    findings = [
        Finding(*name, "status", "worse" if o.status == "ok" else "better", _outcome(o, n), seeds=(n.seed,))
        for o, n in pairs
        if (o.status == "ok") != (n.status == "ok")
    ]
    pairs = [(o, n) for o, n in pairs if o.status == n.status == "ok"]
    if not pairs:
        return findings or [Finding(*name, "status", "same", "neither side has a run that ended well")]
    return [*findings, *_quality(pairs, rules), *_time(pairs, rules)]


def _outcome(old: Record, new: Record) -> str:
    reason = f" ({new.reason})" if new.reason else ""
    return f"the run was {old.status} in base and is {new.status} in new{reason}"


def _pairs(old: list[Record], fresh: list[Record]) -> list[Pair]:
    """One pair per seed and machine that both sides have; for a seed without a common machine, one pair."""
    pairs: list[Pair] = []
    for seed in sorted({r.seed for r in old} & {r.seed for r in fresh}):
        choices = list(product((r for r in old if r.seed == seed), (r for r in fresh if r.seed == seed)))
        same = {n.machines: (o, n) for o, n in choices if o.machines == n.machines}
        pairs += same.values() or [max(choices, key=lambda pair: pair[0].outer_steps == pair[1].outer_steps)]
    return pairs


def _quality(pairs: list[Pair], rules: _Rules) -> list[Finding]:
    name, metric = _name(pairs[0][1]), pairs[0][1].metric
    fair = [(o, n) for o, n in pairs if _same_episodes(o, n) and o.outer_steps == n.outer_steps]
    if not fair:
        o, n = pairs[0]
        reason = f"base has done {o.outer_steps:,} outer steps, new {n.outer_steps:,}"
        if o.task_version != n.task_version:
            reason = f"the tasks have changed from version {o.task_version} to {n.task_version}"
        elif o.data != n.data:
            reason = "the data behind the tasks are not the same"
        return [Finding(*name, metric.name, "incomparable", reason)]
    old, fresh = Group(tuple(o for o, _ in fair)), Group(tuple(n for _, n in fair))
    before = {(shape_of(score.evaluation), score.inner_steps): score for score in old.scores()}
    return [
        _score(name, metric, before.get((shape_of(score.evaluation), score.inner_steps)), score, _seeds(fair), rules)
        for score in fresh.shown(published_steps([*old.records, *fresh.records]))
    ]


def _same_episodes(old: Record, new: Record) -> bool:
    return old.task_version == new.task_version and old.data == new.data


def _score(name: Name, metric: Metric, old: Score | None, new: Score, seeds: tuple[int, ...], rules: _Rules) -> Finding:
    shape = shape_in_words(new.evaluation)
    finding = partial(Finding, *name, metric.name, shape=shape, inner_steps=new.inner_steps, seeds=seeds)
    if old is None:
        return finding("incomparable", "base lacks this test")
    b, n = _bounded(old.values, metric), _bounded(new.values, metric)
    change = paired_bootstrap(b, n, seed=BOOTSTRAP_SEED, alpha=rules.alpha)
    if not np.isfinite(change.value):
        return finding("incomparable", "no episode has a finite score on both sides")
    mean = over_tasks(b)[0]
    threshold = rules.quality if metric.name == "accuracy" else rules.relative * abs(mean)
    verdict, reason = _verdict(change, threshold, metric.higher_is_better)
    difference, low, high = change
    return finding(verdict, reason, base=mean, new=over_tasks(n)[0], difference=difference, low=low, high=high)


def _time(pairs: list[Pair], rules: _Rules) -> list[Finding]:
    name = _name(pairs[0][1])
    timed = [(o, n) for o, n in pairs if _timing(o) and _timing(n)]
    if not timed:  # neither run trains, such as those of a random initialisation
        return []
    reasons = {} if rules.across_machines else {i: _unlike(*pair) for i, pair in enumerate(timed)}
    fair = [pair for i, pair in enumerate(timed) if not reasons.get(i)]
    if not fair:
        return [Finding(*name, "outer_step_s", "incomparable", reasons[0], seeds=_seeds(timed))]
    base, new = [[t for r in side if (t := _timing(r))] for side in zip(*fair, strict=True)]
    ratio = ratio_of_medians(base, new)
    change, low, high = (end - 1 for end in ratio)
    verdict, reason = _verdict(Interval(change, low, high), rules.time, higher_is_better=False)
    return [
        Finding(
            *(*name, "outer_step_s", verdict, reason),
            seeds=_seeds(fair),
            base=float(np.median([t.median for t in base])),
            new=float(np.median([t.median for t in new])),
            difference=change,
            low=low,
            high=high,
        )
    ]


def _verdict(change: Interval, threshold: float, higher_is_better: bool) -> tuple[Verdict, str]:
    if not change.excludes(0.0):
        return "same", "the interval of the difference includes zero"
    if abs(change.value) <= threshold:
        return "same", f"the difference is within the threshold of {threshold:.3g}"
    good = (change.value > 0) == higher_is_better
    return "better" if good else "worse", f"significant and larger than the threshold of {threshold:.3g}"


def _unlike(old: Record, new: Record) -> str:
    """Why the seconds of two runs cannot be compared, as a sentence; empty if they can."""
    named = {"machine": "machines"} | {what: what for what in ("device", "threads", "schedule", "memory")}
    for what, name in named.items():
        b, n = getattr(old, name), getattr(new, name)
        if b != n:
            return f"seconds are not compared: {what} was {b} in base and is {n} in new"
    b, n = old.machine_gflops, new.machine_gflops
    if b > 0 and n > 0 and max(b / n, n / b) > RATE_TOLERANCE:
        return f"seconds are not compared: the machine's convolution rate went from {b:.0f} to {n:.0f} GFLOP/s"
    return ""


def _timing(record: Record) -> Timing | None:
    bucket = record.timing_s.get("outer_step", {})
    ends = [bucket.get(key, 0.0) for key in ("median", "p05", "p95")]
    return Timing(*ends) if bucket.get("count") and min(ends) > 0 else None


def _bounded(values: Array, metric: Metric) -> Array:
    """The scores, where those of diverged episodes are replaced by the metric's bound. They count as bad, but none of
    them alone decides the mean."""
    limit = metric.diverged_above
    return values if limit is None else np.where(np.isfinite(values), np.minimum(values, limit), limit)


def _seeds(pairs: Iterable[Pair]) -> tuple[int, ...]:
    return tuple(sorted({new.seed for _, new in pairs}))
