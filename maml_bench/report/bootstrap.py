"""Bootstrap intervals of differences. They have a module of their own because only comparisons need scipy."""

import math

import numpy as np
from scipy import stats

from maml_bench.report.statistics import Array, Interval, mean_over_seeds


def paired_bootstrap(base: Array, new: Array, *, seed: int, alpha: float = 0.05, resamples: int = 9999) -> Interval:
    """The mean difference new - base over shared episodes, with its 1 - ``alpha`` percentile bootstrap interval.

    Both arrays are ``[seeds, episodes]`` over the same seeds and episodes. Episodes are drawn with replacement, each
    with all its seeds and both its scores, so what an easy or a hard task does to both runs cancels (Efron and
    Tibshirani 1993, chapters 8 and 13). Pairs without a finite score on either side are left out; one pair alone has no
    interval around it, and low and high are then its difference. Equal arguments give an equal interval.

    Raises:
        ValueError: the shapes differ.
    """
    if base.shape != new.shape:
        raise ValueError(f"paired scores need one shape, got {base.shape} and {new.shape}")
    difference = mean_over_seeds(new - base)
    difference = difference[np.isfinite(difference)]
    if not len(difference):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(difference.mean())
    if len(difference) == 1:
        return Interval(mean, mean, mean)
    low, high = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // len(difference)),  # resamples at a time, so that memory stays at tens of megabytes
        confidence_level=1 - alpha,
        method="percentile",
        rng=seed,
    ).confidence_interval
    return Interval(mean, float(low), float(high))
