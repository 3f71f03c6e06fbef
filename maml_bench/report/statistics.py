"""The statistics of tables and comparisons: small deterministic functions of arrays of scores.

``values`` are always ``[seeds, episodes]``; an episode that has no finite score under a seed is nan there.
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
        """Whether ``value`` lies outside the interval; False where the interval is unknown."""
        return value < self.low or value > self.high


class Timing(NamedTuple):
    """A record's summary of one clock bucket, in seconds: the median sample and its 5th and 95th percentile."""

    median: float
    p05: float
    p95: float


def over_tasks(values: Array) -> tuple[float, float]:
    """Mean and half-width of the 95 % interval over tasks.

    All seeds are tested on the same episodes, so an episode's values are averaged over the seeds first: the interval
    speaks of tasks only, and training more seeds cannot narrow it by counting an episode twice. For one seed it is the
    interval of the record (`mean_ci95`). Both are nan where no value is finite.
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
    """How a measured interval stands to a published one, in words.

    ``overlap``: the two intervals meet; ``within``: the paper prints no interval and its value lies in ours; otherwise
    the side on which we are, and whether that is the good one: ``above (better)``, ``below (worse)``, and so on. Empty
    where nothing was measured.
    """
    if not math.isfinite(mean):
        return ""
    if abs(mean - published) <= ci95 + (published_ci95 or 0.0):
        return "within" if published_ci95 is None else "overlap"
    above = mean > published
    return f"{'above' if above else 'below'} ({'better' if above == higher_is_better else 'worse'})"


def ratio_of_medians(base: Sequence[Timing], new: Sequence[Timing]) -> Interval:
    """The ratio new / base of median seconds (the median over pairs), with a cautious interval around it.

    Records keep summaries, not samples, and the samples of one run drift together, so an interval that shrinks with
    their count would call every quiet afternoon a speed-up. Instead a pair's ratio may be as small as new's median over
    base's 95th percentile or new's 5th percentile over base's median, as large as the opposite ends, and the interval
    spans all pairs. It leaves 1 out exactly when in every pair, and to the same side, each run's typical step
    would have been among the rarest 5 % of the other's.

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
