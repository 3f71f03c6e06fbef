"""Learning curves of groups of records, for figures and for tables of what a given time buys."""

from typing import NamedTuple

import numpy as np

from maml_bench.record import Record
from maml_bench.report.aggregate import Group
from maml_bench.report.statistics import Array


class MeanCurve(NamedTuple):
    """One entry per validation ``[validations]``: outer steps, seconds of training, score and half-width, and steps in
    the world, nan where nobody acts."""

    steps: Array
    seconds: Array
    mean: Array
    ci95: Array
    env_steps: Array


def mean_curve(group: Group) -> MeanCurve:
    """Means over the seeds at the steps that all had; nan where a seed has no score."""
    shared = sorted(set.intersection(*(set(record.curve.step) for record in group.records)))
    table = np.array([_at(record, shared) for record in group.records], dtype=np.float64)
    seconds, mean, ci95, env_steps = table.mean(axis=0)
    return MeanCurve(np.array(shared, dtype=np.float64), seconds, mean, ci95, env_steps)


def seed_curves(group: Group) -> list[MeanCurve]:
    """The curve of each seed."""
    return [mean_curve(Group((record,))) for record in group.records]


def _at(record: Record, steps: list[int]) -> list[list[float | None]]:
    curve = record.curve
    where = [curve.step.index(step) for step in steps]
    acted: list[float | None] = [*curve.env_steps] or [None] * len(curve.step)
    columns: tuple[list[float | None], ...] = ([*curve.seconds], curve.validation, curve.validation_ci95, acted)
    return [[values[i] for i in where] for values in columns]
