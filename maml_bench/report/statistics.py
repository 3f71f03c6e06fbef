"""The statistics of tables and comparisons: small deterministic functions of arrays of scores.

``values`` always have the shape ``[seeds, episodes]``. A score that is missing or not finite is nan.
"""

import math
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
    return Estimate(float(np.mean(means)), t_interval(np.array(means)), "seeds")


def over_tasks(values: Array) -> tuple[float, float]:
    """Mean and half-width of the 95 % interval over tasks, of the means over seeds."""
    return mean_ci95(mean_over_seeds(values).tolist())


def seed_means(values: Array) -> list[float]:
    """The mean over tasks of each seed, of the finite values; nan where a seed has none."""
    return [mean_ci95(row.tolist())[0] for row in values]


def paired(base: Array, new: Array) -> Interval:
    """The mean difference new - base of scores on the same seeds and tasks, with its 95 % interval.

    What an easy or a hard task does to both runs cancels. The interval is Student's t interval: over the seeds' mean
    differences if there are at least ``MIN_SEEDS``, else over the tasks' mean differences. Pairs without a finite score
    on either side are left out. One seed with one task has an infinite interval; without any pair all three are nan.

    Raises:
        ValueError: the shapes differ.
    """
    if base.shape != new.shape:
        raise ValueError(f"paired scores need one shape, got {base.shape} and {new.shape}")
    difference = new - base
    seeds = np.array(seed_means(difference))
    sample = seeds if np.isfinite(seeds).sum() >= MIN_SEEDS else mean_over_seeds(difference)
    sample = sample[np.isfinite(sample)]
    if not len(sample):
        return Interval(math.nan, math.nan, math.nan)
    mean, half = float(sample.mean()), t_interval(sample)
    return Interval(mean, mean - half, mean + half)


def t_interval(sample: Array) -> float:
    """Half-width of Student's 95 % t interval of the mean of ``sample``; infinite for a single value."""
    if len(sample) < 2:
        return math.inf
    return float(stdtrit(len(sample) - 1, 0.975)) * float(np.std(sample, ddof=1)) / math.sqrt(len(sample))


def mean_over_seeds(values: Array) -> Array:
    """The mean over seeds per episode ``[episodes]``, of the finite values; nan where there is none."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    total = np.where(finite, values, 0.0).sum(axis=0)
    mean: Array = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean
