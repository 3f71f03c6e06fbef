"""The statistics of tables and comparisons: small deterministic functions of arrays of scores.

``values`` always have the shape ``[seeds, episodes]``. A score that is missing or not finite is nan.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maml_bench.record import mean_ci95

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and the ends of its interval; all nan where nothing was measured."""

    value: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether ``value`` lies outside the interval; False where the interval is nan."""
        return value < self.low or value > self.high


class Timing(NamedTuple):
    """A record's summary of one clock bucket, in seconds: the median sample and its 5th and 95th percentile."""

    median: float
    p05: float
    p95: float


def over_tasks(values: Array) -> tuple[float, float]:
    """Mean and half-width of the 95 % interval over tasks.

    All seeds are tested on the same episodes, so the values of each episode are averaged over the seeds first. The
    interval is therefore about tasks only; counting each episode once per seed would make it too narrow. For one seed
    it is the interval of the record (`mean_ci95`). Both numbers are nan where no value is finite.
    """
    return mean_ci95(mean_over_seeds(values).tolist())


def per_seed(values: Array) -> list[tuple[float, float]]:
    """Mean and half-width of the 95 % interval over tasks, for each seed on its own."""
    return [mean_ci95(row.tolist()) for row in values]


def spread(values: Array) -> float | None:
    """Standard deviation (n - 1) of the seeds' means; None where fewer than two seeds have one."""
    means = [mean for mean, _ in per_seed(values) if math.isfinite(mean)]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def meets(mean: float, ci95: float, published: float, published_ci95: float | None, higher_is_better: bool) -> str:
    """Compare a measured interval with a published one, in a word.

    ``overlap``: the two intervals overlap. ``within``: the paper gives no interval, and its value lies in ours.
    Otherwise the side on which we are, and whether that is better: ``above (better)``, ``below (worse)``, and so on.
    Empty where nothing was measured.
    """
    if not math.isfinite(mean):
        return ""
    if abs(mean - published) <= ci95 + (published_ci95 or 0.0):
        return "within" if published_ci95 is None else "overlap"
    above = mean > published
    return f"{'above' if above else 'below'} ({'better' if above == higher_is_better else 'worse'})"


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
