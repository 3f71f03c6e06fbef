"""What all loaders share: the table of benches, the check of what is delivered, the clock and the one line of JSON.

``ENVPYTHON benchmarks/loaders/X_loader.py --bench NAME --inputs FILE.npy --threads N --seconds S``. The file holds the
uint8 images ``[class, example, C, H, W]`` that episodes are drawn from. Needs numpy alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "peers"))  # these run as scripts, outside any package
from base import NotExpressible, reset_peak, resident_bytes

__all__ = ["BENCHES", "SCHEDULES", "Bench", "Loader", "MetaBatch", "NotExpressible", "main"]

WARM_UP_BATCHES = 5
LEAST_SAMPLES = 5
SAMPLE_S = 0.05
"""A sample is as many meta-batches as take this long, so that workers that load ahead are timed in the steady state."""


@dataclass(frozen=True)
class Bench:
    """Meta-batches of ``tasks`` episodes: N ``way``, K ``shot``, Q ``query``.

    ``images`` names the array that the driver writes. ``turned``: classes are turned by quarters, each library in its
    own way (one turn for each class of a task, or each turn a class). ``own``: a library that reads this very data set
    from files of its own does that.
    """

    name: str
    images: str
    tasks: int
    way: int
    shot: int
    query: int
    turned: bool = False
    own: bool = False

    def repeats(self) -> dict[str, int]:
        """Images per class in support and query."""
        return {"support": self.shot, "query": self.query}


BENCHES = {
    bench.name: bench
    for bench in (
        Bench("loader-omniglot-5w1s", "binary28", tasks=32, way=5, shot=1, query=1),
        Bench("loader-omniglot-20w5s", "binary28", tasks=32, way=20, shot=5, query=1),
        Bench("loader-omniglot-grey-5w1s", "grey28", tasks=32, way=5, shot=1, query=1),
        Bench("loader-omniglot-turned-5w1s", "binary28", tasks=32, way=5, shot=1, query=1, turned=True),
        Bench("loader-mini-5w1s", "mini", tasks=4, way=5, shot=1, query=15),
        Bench("loader-mini-imagenet-5w1s", "mini_imagenet", tasks=4, way=5, shot=1, query=15, own=True),
    )
}


SCHEDULES = {
    "maml-bench": ("one call a meta-batch",),
    "torchmeta": (
        "floats, num_workers=0",
        "ToTensor, num_workers=0",
        "ToTensor, num_workers=2",
        "MiniImagenet, num_workers=0",
        "MiniImagenet, num_workers=2",
    ),
    "learn2learn": ("fused, int labels", "fused, TensorDataset", "plain, int labels"),
}
"""The ways that each library offers, explained in its adapter; all are tried and the fastest counts."""


class MetaBatch(NamedTuple):
    """What a loader delivers, as arrays: x ``[tasks, examples, C, H, W]``, y ``[tasks, examples]``."""

    support_x: np.ndarray
    support_y: np.ndarray
    query_x: np.ndarray
    query_y: np.ndarray


class Loader(ABC):
    """A library's own way to deliver meta-batches of tensors that a network can take.

    ``library`` is its name in SCHEDULES.
    """

    library: ClassVar[str]

    @abstractmethod
    def __init__(self, bench: Bench, images: np.ndarray, threads: int, schedule: str) -> None:
        """Build the loader of ``images``, uint8 ``[class, example, C, H, W]``, a memory map.

        Raises:
            NotExpressible: the library cannot do ``bench`` in this way.
        """

    @abstractmethod
    def batches(self) -> Iterator[Any]:
        """Meta-batches without end, in the library's own form."""

    @abstractmethod
    def arrays(self, batch: Any) -> MetaBatch:
        """One of them as arrays; not timed."""

    @abstractmethod
    def versions(self) -> dict[str, str | None]:
        """``library_version`` and ``torch``."""


def check(bench: Bench, images: np.ndarray, batch: MetaBatch) -> None:
    """Nothing is timed that is not right.

    Raises:
        ValueError: a shape, a type, a range or a label is wrong, an image is not of the array or not of its label's
            class, or an image of the support stands in the query.
    """
    origins: dict[int, set[int]] = {}
    for place, image in enumerate(images.reshape(-1, *images.shape[2:])):
        origins.setdefault(zlib.crc32(image.tobytes()), set()).add(place)
    for part, (x, y) in (("support", batch[:2]), ("query", batch[2:])):
        repeats = bench.repeats()[part]
        if x.shape != (bench.tasks, bench.way * repeats, *images.shape[2:]) or x.dtype != np.float32:
            raise ValueError(f"{part} inputs are {x.dtype} {x.shape}")
        if y.shape != x.shape[:2] or not all(
            sorted(row) == sorted([*range(bench.way)] * repeats) for row in y.tolist()
        ):
            raise ValueError(f"{part} labels are not 0 to {bench.way - 1}, {repeats} of each")
        if not (np.rint(x * 255) / np.float32(255) == x).all():
            raise ValueError(f"{part} inputs are not bytes over 255")
    for task in range(bench.tasks):
        seen: set[tuple[int, int]] = set()
        classes: dict[int, set[int]] = {}
        for x, y in (batch[:2], batch[2:]):
            for image, label in zip(np.rint(x[task] * 255).astype(np.uint8), y[task].tolist()):
                turns = range(4 if bench.turned else 1)
                found = [
                    (o, t) for t in turns for o in origins.get(zlib.crc32(np.rot90(image, t, (1, 2)).tobytes()), ())
                ]
                if not found:
                    raise ValueError("an image is not of the array")
                if len(found) == 1:  # images that look alike tell nothing
                    if found[0] in seen:
                        raise ValueError("an image stands in a task twice")
                    seen.add(found[0])
                of_image = {origin // images.shape[1] for origin, _ in found}
                classes[label] = classes.get(label, of_image) & of_image
        if not all(classes.values()):
            raise ValueError("a label stands for two classes")


def measure(batches: Iterator[Any], seconds: float) -> dict[str, Any]:
    """Seconds of a meta-batch: the median of at least LEAST_SAMPLES samples over about ``seconds``, after a warm-up."""

    def timed(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            next(batches)
        return (time.perf_counter() - start) / count

    usual = min(timed(1) for _ in range(WARM_UP_BATCHES))
    count = max(1, round(SAMPLE_S / usual))
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < LEAST_SAMPLES or time.perf_counter() < end:
        samples.append(timed(count))
    return {"median_s": statistics.median(samples), "samples": len(samples)}


def main(kind: type[Loader]) -> None:
    """The command line of a loader; prints one line of JSON."""
    baseline = resident_bytes("VmRSS")
    reset_peak()
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or kind.library).splitlines()[0])
    parser.add_argument("--bench", required=True, choices=list(BENCHES))
    parser.add_argument("--inputs", required=True, type=Path, help="array that the driver has written")
    parser.add_argument("--schedule", default=SCHEDULES[kind.library][0], choices=SCHEDULES[kind.library])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="about so long; 0: check one and time nothing")
    options = parser.parse_args()

    bench, images = BENCHES[options.bench], np.load(options.inputs, mmap_mode="c")
    found: dict[str, Any] = {"status": "ok", "reason": None, "python": platform.python_version()}
    try:
        loader = kind(bench, images, options.threads, options.schedule)
    except NotExpressible as reason:
        print(json.dumps({**found, "status": "not expressible", "reason": str(reason), "schedule": options.schedule}))
        return
    batches = loader.batches()
    if options.seconds == 0:
        try:
            check(bench, images, loader.arrays(next(batches)))
        except ValueError as error:
            found.update(status="failed", reason=str(error))
    else:
        found.update(measure(batches, options.seconds))
        peak = resident_bytes("VmHWM")
        found["peak_memory_bytes"] = max(0, peak - baseline) if peak and baseline else None
    found.update(loader.versions(), schedule=options.schedule, threads=options.threads)
    print(json.dumps(found))
