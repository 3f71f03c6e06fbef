"""Compare two sets of records: did a change make results better or worse, or steps slower or faster?

A difference counts when its interval excludes zero and it is larger than a threshold. What is the same is shown to be
the same: the whole interval lies within the threshold. Everything else cannot be told from these data. Scores are
paired over the same seeds and test tasks (`statistics.paired`); for times see `step_times`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from maml_bench.errors import MamlBenchError
from maml_bench.record import Metric, Record
from maml_bench.report import step_times
from maml_bench.report.aggregate import Group, Score, published_steps, shape_in_words, shape_of
from maml_bench.report.pairing import Match, Pair, match, read
from maml_bench.report.statistics import MIN_SEEDS, Array, Interval, over_tasks, paired

Side = Literal["base", "new"]
BASE: Side = "base"
NEW: Side = "new"
CONTENT = "the content of the recipe differs"
About = Callable[..., "Finding"]
Verdict = Literal["same", "better", "worse", "cannot tell", "incomparable"]
RETRAINED = 3
"""Other rounding changes a training as another seed does. Records of MAML on the quick Omniglot recipe with seed 0,
made with three commits on three machines, differ by up to 2.6 points. What the commits and what the machines contribute
is not known. With too few seeds for an interval over seeds, a score from another machine or another torch must
therefore differ by this many thresholds."""


@dataclass(frozen=True)
class Finding:
    """One comparison.

    ``quantity`` is the metric's name (``base``, ``new`` and ``difference`` = new - base in its units),
    ``outer_step_s`` (seconds of an undisturbed outer step; ``difference`` is the relative change new / base - 1) or,
    with nothing measured, ``status``, ``recipe`` or ``seed``. ``low`` and ``high`` are the ends of the difference's
    95 % interval, and ``smallest`` is the smallest difference that these data could have shown.
    """

    recipe: str
    setup: str
    preset: str
    kind: str
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
    smallest: float | None = None
    only: Side | None = None
    """The side that alone has this recipe, seed or test; None where both have it."""


@dataclass(frozen=True)
class Comparison:
    """All findings about two sets of records."""

    findings: list[Finding]

    @property
    def worse(self) -> bool:
        """Whether any quantity is worse, significantly and beyond its threshold."""
        return any(finding.verdict == "worse" for finding in self.findings)

    @property
    def compared(self) -> bool:
        """Whether anything could be compared."""
        return any(finding.verdict != "incomparable" for finding in self.findings)

    @property
    def complete(self) -> bool:
        """Whether everything could be compared, and told."""
        return not any(finding.verdict in ("incomparable", "cannot tell") for finding in self.findings)


@dataclass(frozen=True)
class Rules:
    """The smallest changes that count, and whether seconds of different machines are compared; see `compare`."""

    quality: float = 0.01
    relative: float = 0.10
    time: float = 0.08
    across_machines: bool = False


def compare(base: str | Path, new: str | Path, rules: Rules) -> Comparison:
    """Compare the records of ``new`` with those of ``base``; see `maml_bench.compare`.

    Raises:
        MamlBenchError: a record cannot be read, or the two sides have no recipe and setup in common.
    """
    found = match(read(base), read(new))
    if not any(one.pairs or (one.base_only and one.new_only) for one in found):
        raise MamlBenchError(f"{base} and {new} have no recipe and setup in common, so there is nothing to compare")
    return Comparison([finding for one in found for finding in _findings(one, rules)])


def _findings(one: Match, rules: Rules) -> Iterator[Finding]:
    """All findings about the runs of one name."""
    about = partial(Finding, *one.name)
    both = bool(one.pairs or (one.base_only and one.new_only))
    quantity, what = ("seed", "these seeds") if both else ("recipe", "this recipe with this setup and preset")
    for seeds, side in ((one.base_only, BASE), (one.new_only, NEW)):
        if seeds:
            yield about(quantity, "incomparable", f"only {side} has {what}", seeds=seeds, only=side)
    for old, new in one.pairs:
        if old.status != "ok" or new.status != "ok":
            reason = f" ({new.reason})" if new.reason else ""
            words = f"the run was {old.status} in base and is {new.status} in new{reason}"
            verdict: Verdict = (
                "incomparable" if "ok" not in (old.status, new.status) else "worse" if old.status == "ok" else "better"
            )
            yield about("status", verdict, words, seeds=(new.seed,))
    well = [pair for pair in one.pairs if pair[0].status == pair[1].status == "ok"]
    if well:
        yield from _quality(about, well, rules)
        yield from _time(about, well, rules)


def _quality(about: About, pairs: list[Pair], rules: Rules) -> Iterator[Finding]:
    metric = pairs[0][1].metric
    apart: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        apart[_other_tasks(*pair)].append(pair)
    fair = apart.pop("", [])
    for reason, mine in apart.items():
        yield about(metric.name, "incomparable", reason, seeds=_seeds(mine))
    if not fair:
        return
    old, fresh = Group(tuple(o for o, _ in fair)), Group(tuple(n for _, n in fair))
    wanted = published_steps([*old.records, *fresh.records])
    tests = [{(shape_of(s.evaluation), s.inner_steps): s for s in side.shown(wanted)} for side in (old, fresh)]
    every = [{(shape_of(s.evaluation), s.inner_steps): s for s in side.scores()} for side in (old, fresh)]
    for test in dict.fromkeys([*tests[0], *tests[1]]):
        b, n = (side.get(test) for side in every)
        shown = n or b
        if shown is None:
            continue
        finding = partial(
            about,
            metric.name,
            shape=shape_in_words(shown.evaluation),
            inner_steps=shown.inner_steps,
            seeds=_seeds(fair),
        )
        if b is None or n is None:
            side = NEW if b is None else BASE
            yield finding(verdict="incomparable", reason=f"only {side} has this test", only=side)
        else:
            yield _score(finding, metric, b, n, fair, rules)


def _other_tasks(old: Record, new: Record) -> str:
    """Why the scores of two runs cannot be compared, as a sentence; empty if they can."""
    if old.task_version != new.task_version:
        return f"the tasks have changed from version {old.task_version} to {new.task_version}"
    if old.data != new.data:
        return "the data behind the tasks are not the same"
    if old.outer_steps != new.outer_steps:
        return f"base has done {old.outer_steps:,} outer steps, new {new.outer_steps:,}"
    return ""


def _score(finding: About, metric: Metric, old: Score, new: Score, pairs: list[Pair], rules: Rules) -> Finding:
    b, n = _bounded(old.values, metric), _bounded(new.values, metric)
    change = paired(b, n)
    if not np.isfinite(change.value):
        return finding(verdict="incomparable", reason="no task has a finite score on both sides")
    mean = over_tasks(b)[0]
    threshold = rules.quality if metric.name == "accuracy" else rules.relative * abs(mean)
    notes = [CONTENT] if any(o.recipe_id != n.recipe_id for o, n in pairs) else []
    if len(_seeds(pairs)) < MIN_SEEDS and any(_retrained(*pair) for pair in pairs):
        threshold *= RETRAINED
        notes.append(f"fewer than {MIN_SEEDS} seeds, trained under other conditions")
    return _judged(finding, change, threshold, metric.higher_is_better, mean, over_tasks(n)[0], notes)


def _retrained(old: Record, new: Record) -> bool:
    """Whether rounding may differ between two trainings."""
    torch = old.software.get("torch") != new.software.get("torch")
    return old.kind == "run" and bool(old.outer_steps) and (torch or bool(step_times.unlike(old, new)))


def _time(about: About, pairs: list[Pair], rules: Rules) -> Iterator[Finding]:
    fair: list[Pair] = []
    apart: dict[str, list[Pair]] = defaultdict(list)
    for pair in (pair for pair in pairs if all(map(step_times.timed, pair))):
        reason = "" if rules.across_machines else step_times.unlike(*pair)
        (apart[reason] if reason else fair).append(pair)
    for reason, mine in apart.items():
        yield about("outer_step_s", "incomparable", reason, seeds=_seeds(mine))
    if not fair:
        return
    base, new = [o for o, _ in fair], [n for _, n in fair]
    finding = partial(about, "outer_step_s", seeds=_seeds(fair))
    change = step_times.change(base, new)
    if isinstance(change, str):
        yield finding(verdict="cannot tell", reason=change)
        return
    notes = [CONTENT] if any(o.recipe_id != n.recipe_id for o, n in fair) else []
    sides = (step_times.step_s(base), step_times.step_s(new))
    yield _judged(finding, change, rules.time, False, *sides, notes)


def _judged(
    finding: About, change: Interval, threshold: float, higher: bool, base: float, new: float, notes: list[str]
) -> Finding:
    """The verdict about a change with its interval, where larger is better if ``higher``."""
    value, low, high = change
    smallest = max(threshold, high - value, value - low)
    known = math.isfinite(smallest)
    verdict: Verdict
    if change.excludes(0.0) and abs(value) > threshold:
        verdict = "better" if (value > 0) == higher else "worse"
        reason = f"significant and larger than the threshold of {threshold:.3g}"
    elif -threshold <= low and high <= threshold:
        verdict, reason = "same", f"the whole interval is within the threshold of {threshold:.3g}"
    else:
        shown = f"a difference below {smallest:.2g} could not be shown" if known else "one task shows nothing"
        verdict, reason = "cannot tell", shown
    ends = (low, high, smallest) if known else (None, None, None)
    return finding(
        verdict=verdict,
        reason="; ".join([reason, *notes]),
        base=base,
        new=new,
        difference=value,
        **dict(zip(("low", "high", "smallest"), ends, strict=True)),
    )


def _bounded(values: Array, metric: Metric) -> Array:
    """The scores, where those of diverged episodes are replaced by the metric's bound. They count as bad, but none of
    them alone decides the mean."""
    limit = metric.diverged_above
    return values if limit is None else np.where(np.isfinite(values), np.minimum(values, limit), limit)


def _seeds(pairs: Iterable[Pair]) -> tuple[int, ...]:
    return tuple(sorted({new.seed for _, new in pairs}))
