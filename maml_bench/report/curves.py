"""Learning curves of groups of records, for figures and for the table of accuracy per second."""

from typing import NamedTuple

import numpy as np

from maml_bench.record import Record
from maml_bench.report.aggregate import Group
from maml_bench.report.statistics import Array


class MeanCurve(NamedTuple):
    """A learning curve with one entry per validation, each array ``[validations]``.

    ``seconds`` are of training, ``ci95`` is the half-width of the interval, and ``env_steps`` counts steps in the
    environment (nan outside reinforcement learning).
    """

    steps: Array
    seconds: Array
    mean: Array
    ci95: Array
    env_steps: Array


def mean_curve(group: Group) -> MeanCurve:
    """The means over the seeds at the outer steps that all of them have; nan where one of them has no score."""
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
