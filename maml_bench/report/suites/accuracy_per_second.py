"""Validation accuracy of several setups after equal training time on one machine.

Only the seconds of one *field* may be compared: the setups of one cell and preset that ran on one kind of machine, with
one device, number of threads and memory setting. The *equal time* of a field is the shortest training that used its
whole budget or, where none did, the shortest training. The accuracy of a setup at a time is that of its last validation
until then; it is unknown if the training stopped before its end and before that time. A setup has reached a level at
its first validation that is not below it. Nothing is interpolated. Setups without training count as 0 s."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from maml_bench.record import Record
from maml_bench.report.aggregate import Group
from maml_bench.report.curves import MeanCurve, mean_curve
from maml_bench.report.statistics import Interval, Timing, ratio_of_medians
from maml_bench.report.suites.cells import Place, merit, partial, places, rank
from maml_bench.report.tables import NONE, plus_minus, three_digits
from maml_bench.suites import Cell, Suite

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
SHOWN_LEVELS = 3
CLAIM = (
    "Dropping second derivatives gave the paper roughly 33 % speed-up in network computation (Finn et al. 2017, "
    "section 5.2): a ratio of 0.67 if that counts seconds, of 0.75 if it counts steps per second."
)


@dataclass(frozen=True)
class Field:
    """Setups whose seconds may be compared; ``groups`` are by setup, in alphabetical order."""

    cell: Cell
    preset: str
    ranked: bool
    machine: str
    device: str
    threads: int
    memory: str
    groups: dict[str, Group]

    @property
    def curves(self) -> dict[str, MeanCurve]:
        return {setup: mean_curve(group) for setup, group in self.groups.items()}

    @property
    def equal_s(self) -> float | None:
        """The equal time in seconds, or None where nothing trained."""
        trained = {
            setup: float(curve.seconds[-1])
            for setup, curve in self.curves.items()
            if self.groups[setup].first.budget_steps
        }
        whole = [end for setup, end in trained.items() if self.groups[setup].first.budget_share >= 1]
        return min(whole or trained.values(), default=None)

    def at(self, setup: str, seconds: float) -> tuple[float, float]:
        """A setup's accuracy and half-width at so many seconds of training; nan where they are not known."""
        curve, record = self.curves[setup], self.groups[setup].first
        broken_off = record.budget_share < 1 and curve.seconds[-1] < seconds
        return (math.nan, math.nan) if broken_off else by_then(curve, seconds)

    @property
    def title(self) -> str:
        """The problem, the preset, the machine and how it was used."""
        where = f"{self.machine}, {self.device}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.cell.column}, {self.preset} preset, machine {where}, {self.memory} memory"


def fields(suite: Suite, records: Iterable[Record]) -> list[Field]:
    """All fields of at least two setups. A setup with several groups in a field is shown by the best of them
    (`merit`)."""

    def key(place: Place) -> tuple[str | int | bool, ...]:
        group, record = place.group, place.group.first
        where = (record.machines, record.device, record.threads, record.memory)
        return suite.cells.index(place.cell), rank(group.preset), not group.ranked, *where

    validated = [
        place
        for place in places(suite, records)
        if np.isfinite(mean_curve(place.group).mean).any() and place.group.first.metric.higher_is_better
    ]
    found = []
    for _, same in groupby(sorted(validated, key=key), key=key):
        mine = sorted(same, key=lambda place: merit(place.group))
        groups = {place.setup: place.group for place in mine}
        if len(groups) > 1:
            one, record = mine[0], mine[0].group.first
            where = (record.machines, record.device, record.threads, record.memory)
            found.append(Field(one.cell, one.group.preset, one.group.ranked, *where, dict(sorted(groups.items()))))
    return found


def by_then(curve: MeanCurve, seconds: float) -> tuple[float, float]:
    """Accuracy and half-width of the last validation within ``seconds``; nan where there was none."""
    known = np.flatnonzero((curve.seconds <= seconds) & np.isfinite(curve.mean))
    if not len(known):
        return math.nan, math.nan
    return float(curve.mean[known[-1]]), float(curve.ci95[known[-1]])


def reached_s(curve: MeanCurve, level: float) -> float | None:
    """Seconds of training until the first validation that is not below ``level``; None where none was."""
    there = np.flatnonzero(np.nan_to_num(curve.mean, nan=-math.inf) >= level)
    return float(curve.seconds[there[0]]) if len(there) else None


def levels(field: Field) -> list[float]:
    """The highest levels that two setups reached, else that one did, lowest first."""
    counts = {level: sum(reached_s(curve, level) is not None for curve in field.curves.values()) for level in LEVELS}
    common = [level for level, count in counts.items() if count > 1] or [lv for lv, count in counts.items() if count]
    return common[-SHOWN_LEVELS:]


def ranking(field: Field) -> pd.DataFrame:
    """The table of a field, with the setup that is most accurate at the equal time first.

    The rank is 1 + the number of setups whose mean at the equal time is higher. A preset whose budgets are too small to
    rank setups by says ``unranked`` instead.
    """
    equal_s, wanted, curves = field.equal_s, levels(field), field.curves
    at = {setup: field.at(setup, equal_s or 0.0) for setup in curves}
    best = sorted(at, key=lambda setup: (not math.isfinite(at[setup][0]), -at[setup][0], setup))
    lines = []
    for setup in best:
        group, mean = field.groups[setup], at[setup][0]
        place = 1 + sum(other > mean for other, _ in at.values() if math.isfinite(other))
        standing = (str(place) if field.ranked else "unranked") if math.isfinite(mean) else NONE
        record = group.first
        lines.append(
            {
                "rank": standing,
                "setup": setup,
                f"at {_whole(equal_s)} s": plus_minus(*at[setup], record.metric.name),
                **{f"s to {100 * level:.0f} %": _whole(reached_s(curves[setup], level)) for level in wanted},
                "training s": _whole(float(curves[setup].seconds[-1]))
                + (f", {partial(group)}" if partial(group) else ""),
                "s/step": _number(record.train_s / record.outer_steps) if record.outer_steps else NONE,
                "schedule": record.schedule,
                "seeds": ", ".join(map(str, group.seeds)),
            }
        )
    return pd.DataFrame(lines, dtype=str)


def claim(suite: Suite, records: Iterable[Record], fast: str = "fomaml", slow: str = "maml") -> pd.DataFrame:
    """The seconds of a meta-step of ``fast`` divided by those of ``slow``, where both ran under the same conditions.

    These are cell, preset, commit, machine, device, threads, schedule, memory, tasks in a step and training episodes.
    In brackets: the interval of `statistics.ratio_of_medians`.
    """
    found = [place for place in places(suite, records) if place.setup in (fast, slow) and _timing(place.group)]
    lines = []
    for one in (place for place in found if place.setup == slow):
        for other in (place for place in found if place.setup == fast and _alike(place) == _alike(one)):
            ratio = ratio_of_medians(_timing(one.group)[:1], _timing(other.group)[:1])
            record = one.group.first
            lines.append(
                {
                    "problem": one.cell.column,
                    "preset": one.group.preset,
                    "machine": f"{record.machines} {record.device}",
                    "threads": str(record.threads),
                    "schedule": record.schedule,
                    f"{slow} s/step": _number(_timing(one.group)[0].median),
                    f"{fast} s/step": _number(_timing(other.group)[0].median),
                    "ratio": _ratio(ratio),
                }
            )
    return pd.DataFrame(lines, dtype=str)


def _alike(place: Place) -> tuple[object, ...]:
    record = place.group.first
    work = (record.recipe.get("outer", {}).get("meta_batch"), str(record.recipe.get("train")))
    where = (record.commit, record.machines, record.device, record.threads, record.schedule, record.memory)
    return place.cell.recipe, place.group.preset, *work, *where


def _timing(group: Group) -> list[Timing]:
    """The times of meta-steps of each seed, without warm-up."""
    summaries = [record.timing_s.get("outer_step") for record in group.records]
    return [Timing(s["median"], s["p05"], s["p95"]) for s in summaries if s]


def _ratio(ratio: Interval) -> str:
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _whole(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds:,.0f}"


def _number(value: float) -> str:
    return format(value, three_digits(value))
