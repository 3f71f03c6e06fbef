"""What all adapters share: the command line, the clock, the peak of memory, and the one line of JSON.

``ENVPYTHON benchmarks/peers/X_peer.py --bench NAME --inputs FILE.npz --threads N --seconds S``. Runs in Python 3.9 with
numpy and the adapter's own library alone.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import re
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benches import BENCHES, Bench, MetaBatch, read_inputs

WARM_UP_STEPS = 2
LEAST_SAMPLES = 5
SLOW_S = 60.0
"""A step of many seconds is timed less often, so that one slow peer does not hold up all others for an hour."""


class NotExpressible(Exception):
    """The library has no way to do this bench; says in a sentence why."""


class Adapter(ABC):
    """A library's own way to do the meta-step of a bench: meta-gradient, mean over tasks, and one step of Adam.

    ``schedules`` names its ways through the tasks, the default first.
    """

    library: ClassVar[str]
    schedules: ClassVar[tuple[str, ...]] = ("loop over tasks",)

    @abstractmethod
    def __init__(
        self, bench: Bench, parameters: Mapping[str, np.ndarray], threads: int, schedule: str, double: bool
    ) -> None:
        """Build network and optimiser from ``parameters`` (torch's names and layouts), in float64 if ``double``.

        Raises:
            NotExpressible: the library cannot do ``bench``.
        """

    @abstractmethod
    def prepare(self, batch: MetaBatch) -> Any:
        """The meta-batch as the library wants it; not timed."""

    @abstractmethod
    def step(self, batch: Any) -> None:
        """One whole meta-step, finished when this returns."""

    @abstractmethod
    def gradient(self, batch: Any) -> dict[str, np.ndarray]:
        """The mean meta-gradient at the present parameters, in torch's names and layouts."""

    @abstractmethod
    def versions(self) -> dict[str, str | None]:
        """``library_version``, and ``torch`` (None without it)."""

    def schedule(self) -> str:
        """How the tasks are gone through, for the record."""
        return self.schedules[0]


def resident_bytes(field: str) -> int:
    """``VmRSS`` (memory held now) or ``VmHWM`` (its peak); 0 where there is no /proc."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else 0


def reset_peak() -> None:
    """Let VmHWM count from now on, so that imports do not hide the steps; where the kernel refuses, it counts all."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def measure(adapter: Adapter, batches: list[Any], seconds: float) -> dict[str, Any]:
    """Seconds of a step, the median over about ``seconds`` after a warm-up: LEAST_SAMPLES, or fewer within SLOW_S."""

    def timed(i: int) -> float:
        start = time.perf_counter()
        adapter.step(batches[i % len(batches)])
        return time.perf_counter() - start

    first = timed(0)
    for i in range(WARM_UP_STEPS):
        if timed(1 + i) > SLOW_S / LEAST_SAMPLES:
            break
    gc.collect()
    samples: list[float] = []
    begin, spent = time.perf_counter(), 0.0
    while spent < seconds or (len(samples) < LEAST_SAMPLES and spent < SLOW_S):
        samples.append(timed(len(samples)))
        spent = time.perf_counter() - begin
    median = statistics.median(samples)
    return {"median_s": median, "samples": len(samples), "compile_s": max(0.0, first - median)}


def use_cores(count: int) -> None:
    """Keep this process to ``count`` cores, for a library that starts a thread for every core it sees."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:count]))


def main(kind: type[Adapter]) -> None:
    """The command line of an adapter; prints one line of JSON."""
    baseline = resident_bytes("VmRSS")
    reset_peak()
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or kind.library).splitlines()[0])
    parser.add_argument("--bench", required=True, choices=list(BENCHES))
    parser.add_argument("--inputs", required=True, type=Path, help="file that the driver has written for this bench")
    parser.add_argument("--schedule", default=kind.schedules[0], choices=kind.schedules)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="time steps for about this long")
    parser.add_argument("--gradient-out", type=Path, help="save the meta-gradient of the first meta-batch here")
    parser.add_argument("--gradient-only", action="store_true", help="time nothing")
    parser.add_argument("--double", action="store_true", help="compute in float64")
    options = parser.parse_args()

    parameters, meta_batches = read_inputs(options.inputs)
    found: dict[str, Any] = {"status": "ok", "reason": None, "python": platform.python_version()}
    try:
        adapter = kind(BENCHES[options.bench], parameters, options.threads, options.schedule, options.double)
    except NotExpressible as reason:
        print(json.dumps({**found, "status": "not expressible", "reason": str(reason)}))
        return
    batches = [adapter.prepare(batch) for batch in meta_batches]
    if options.gradient_out:
        np.savez(options.gradient_out, **adapter.gradient(batches[0]))
    if not options.gradient_only:
        found.update(measure(adapter, batches, options.seconds))
        peak = resident_bytes("VmHWM")
        found["peak_memory_bytes"] = max(0, peak - baseline) if peak and baseline else None
    found.update(adapter.versions(), schedule=adapter.schedule(), threads=options.threads)
    print(json.dumps(found))
