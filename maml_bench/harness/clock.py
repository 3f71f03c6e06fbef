"""The one clock: named buckets of seconds, the device synchronised at both ends. Nothing else reads time."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

KEPT = 100_000
"""Raw samples kept per bucket for the quantiles; the total and the count go on beyond."""
BLOCKS = 40
BLOCK = 20


class Clock:
    """Buckets of samples.

    The first ``warm_up`` samples of a bucket go to ``<bucket>_warm_up`` and stay out of it; ``only`` names the buckets
    that have a warm-up, None means all.
    """

    def __init__(self, device: str = "cpu", warm_up: int = 0, only: tuple[str, ...] | None = None) -> None:
        self._device = device
        self._warm_up = warm_up
        self._only = only
        self._samples: dict[str, list[float]] = {}
        self._moments: dict[str, list[float]] = {}
        self._totals: dict[str, tuple[float, int]] = {}
        self._started: dict[str, int] = {}

    @contextmanager
    def measure(self, bucket: str) -> Iterator[None]:
        """Add the seconds that the block takes to ``bucket``; a block that raises adds nothing."""
        self._synchronise()
        start = time.perf_counter()
        yield
        self._synchronise()
        self._add(bucket, time.perf_counter() - start)

    @contextmanager
    def parts(self) -> Iterator[Callable[[str], AbstractContextManager[None]]]:
        """What measures parts of a larger block that come again and again in it: one sample for each, their sum."""
        sums: dict[str, float] = {}

        @contextmanager
        def measure(bucket: str) -> Iterator[None]:
            start = time.perf_counter()
            yield
            sums[bucket] = sums.get(bucket, 0.0) + time.perf_counter() - start

        yield measure
        for bucket, seconds in sums.items():
            self._add(bucket, seconds)

    def total_s(self, *buckets: str) -> float:
        """Seconds in the buckets and in their warm-ups together."""
        names = [name for bucket in buckets for name in (bucket, f"{bucket}_warm_up")]
        return sum(self._totals.get(name, (0.0, 0))[0] for name in names)

    def summary_s(self) -> dict[str, dict[str, float]]:
        """Per bucket: total, count, median, p05, p95."""
        summary = {}
        for bucket, samples in self._samples.items():
            total, count = self._totals[bucket]
            low, median, high = np.quantile(samples, (0.05, 0.5, 0.95)).tolist()
            summary[bucket] = {"total": total, "count": count, "median": median, "p05": low, "p95": high}
        return summary

    def blocks_s(self, bucket: str) -> list[float]:
        """5th percentiles of blocks of consecutive samples, in order: at most `BLOCKS` blocks of at least `BLOCK`.

        Other work on the machine only ever makes a sample longer. The shortest samples of a block are therefore those
        that it disturbed least. A bucket with fewer than `BLOCK` samples has no blocks.
        """
        return [float(f"{np.quantile(block, 0.05):.4g}") for block in _blocks(self._samples.get(bucket, []))]

    def block_moments_s(self, bucket: str) -> list[float]:
        """The moment of each of `blocks_s`, the median of its samples, in seconds since 1970.

        It is empty if some of the samples come from a checkpoint without moments.
        """
        samples, moments = self._samples.get(bucket, []), self._moments.get(bucket, [])
        blocks = _blocks(moments) if len(moments) == len(samples) else []
        return [round(float(np.median(block)), 3) for block in blocks]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run goes on counting."""
        samples, moments = ({name: list(s) for name, s in kept.items()} for kept in (self._samples, self._moments))
        return {"samples": samples, "moments": moments, "totals": dict(self._totals)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; warm-up is taken again, since a new process is cold."""
        self._samples = {name: list(map(float, s)) for name, s in state["samples"].items()}
        self._moments = {name: list(map(float, s)) for name, s in state.get("moments", {}).items()}
        self._totals = dict(state["totals"])
        self._started = {}

    def _add(self, bucket: str, seconds: float) -> None:
        self._started[bucket] = self._started.get(bucket, 0) + 1
        cold = self._started[bucket] <= self._warm_up and (self._only is None or bucket in self._only)
        name = f"{bucket}_warm_up" if cold else bucket
        samples = self._samples.setdefault(name, [])
        if len(samples) < KEPT:
            samples.append(seconds)
            self._moments.setdefault(name, []).append(time.time())
        total, count = self._totals.get(name, (0.0, 0))
        self._totals[name] = (total + seconds, count + 1)

    def _synchronise(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)


def _blocks(samples: list[float]) -> list[Any]:
    """``samples`` in blocks of consecutive ones."""
    count = min(BLOCKS, len(samples) // BLOCK)
    return np.array_split(samples, count) if count else []


def now_utc() -> str:
    """The present moment as an ISO 8601 string in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def monotonic_s() -> float:
    """Seconds of a clock that only goes forward, for deadlines and progress."""
    return time.monotonic()


def pause(seconds: float) -> None:
    """Do nothing for a while."""
    time.sleep(seconds)
