"""The statistics of tables and comparisons: small deterministic functions of arrays of scores.

``values`` always have the shape ``[seeds, episodes]``. A score that is missing or not finite is nan.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from maml_bench.record import mean_ci95

Array = NDArray[np.float64]
MIN_SEEDS = 3
"""From this many seeds on, an interval is over seeds."""
INTERVAL = f"95 % interval over tasks, from {MIN_SEEDS} seeds on over seeds"
"""What the interval of `estimate` is, for the notes of figures."""


class Interval(NamedTuple):
    """An estimate and the ends of its interval; all nan where nothing was measured."""

    value: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether ``value`` lies outside the interval; False where the interval is nan."""
        return value < self.low or value > self.high


class Estimate(NamedTuple):
    """A mean, the half-width of its 95 % interval, and whether that is an interval over seeds or over test tasks."""

    mean: float
    ci95: float
    over: Literal["seeds", "tasks"]


class Timing(NamedTuple):
    """A record's summary of one clock bucket, in seconds: the median sample and its 5th and 95th percentile."""

    median: float
    p05: float
    p95: float


def estimate(values: Array) -> Estimate:
    """The mean and its 95 % interval: over seeds if at least ``MIN_SEEDS`` have a score, else over test tasks.

    The interval over seeds is Student's t interval of the seeds' means. The interval over tasks says nothing about how
    much seeds differ. It is 1.96 standard errors, and the values of each task are averaged over the seeds first,
    because all seeds are tested on the same tasks. For one seed it is the interval of the record (`mean_ci95`). Both
    numbers are nan where no value is finite.
    """
    means = [mean for mean in seed_means(values) if math.isfinite(mean)]
    if len(means) < MIN_SEEDS:
        return Estimate(*over_tasks(values), "tasks")
    quantile = float(stdtrit(len(means) - 1, 0.975))
    return Estimate(float(np.mean(means)), quantile * float(np.std(means, ddof=1)) / math.sqrt(len(means)), "seeds")


def over_tasks(values: Array) -> tuple[float, float]:
    """Mean and half-width of the 95 % interval over tasks, of the means over seeds."""
    return mean_ci95(mean_over_seeds(values).tolist())


def seed_means(values: Array) -> list[float]:
    """The mean over tasks of each seed, of the finite values; nan where a seed has none."""
    return [mean_ci95(row.tolist())[0] for row in values]


def ratio_of_medians(base: Sequence[Timing], new: Sequence[Timing]) -> Interval:
    """The ratio new / base of median seconds (the median over pairs), with a cautious interval around it.

    Records keep summaries instead of samples, and the samples of one run are not independent: the load of a machine
    changes slowly. An interval that shrinks with their number would therefore call every quiet hour a speed-up. The low
    end of a pair is the smaller of new's median over base's 95th percentile and new's 5th percentile over base's
    median; the high end is the larger of the two opposite ratios; and the interval spans all pairs. It excludes 1 only
    if in every pair, and on the same side, the median of each run is among the most extreme 5 % of the other's steps.

    Raises:
        ValueError: no pair, or unpaired summaries.
    """
    pairs = list(zip(base, new, strict=True))
    if not pairs:
        raise ValueError("a ratio needs at least one pair of timings")
    return Interval(
        float(np.median([n.median / b.median for b, n in pairs])),
        min(min(n.median / b.p95, n.p05 / b.median) for b, n in pairs),
        max(max(n.median / b.p05, n.p95 / b.median) for b, n in pairs),
    )


def mean_over_seeds(values: Array) -> Array:
    """The mean over seeds per episode ``[episodes]``, of the finite values; nan where there is none."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    total = np.where(finite, values, 0.0).sum(axis=0)
    mean: Array = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean
