"""What a race writes down: flat rows with the same keys for every peer, and ratios taken round by round."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_write

from .arithmetic import model_gflop
from .benches import Bench
from .catalogue import OURS, Peer
from .checks import Verdict


@dataclass
class Entry:
    """A peer under one memory setting: the verdict on its gradient, and one answer of its adapter per round."""

    peer: Peer
    memory: str
    verdict: Verdict
    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def races(self) -> bool:
        return self.verdict.status == "ok"

    def medians_s(self) -> list[float]:
        return [answer["median_s"] for answer in self.answers]


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float] | None:
    """(median, least, most) over rounds of their seconds over ours in the same round; above 1 ours is faster.

    Rounds that only one of them finished do not count; None if there is none.
    """
    each = [a / b for a, b in zip(theirs, ours, strict=False)]
    return (statistics.median(each), min(each), max(each)) if each else None


def rows(
    bench: Bench, entries: Sequence[Entry], gflops: Sequence[float], common: dict[str, Any]
) -> list[dict[str, Any]]:
    """The rows of one bench. All ratios are to our own retained entry, which is what the command line runs."""
    ours = next((e for e in entries if e.peer.name == OURS and e.memory == "retained" and e.races), None)
    reference = ours.medians_s() if ours else []
    rate = statistics.median(gflops) if gflops else None
    return [_row(bench, entry, reference, rate, common) for entry in entries]


def _row(
    bench: Bench, entry: Entry, reference: Sequence[float], rate: float | None, common: dict[str, Any]
) -> dict[str, Any]:
    verdict, answers = entry.verdict, entry.answers if entry.races else []
    medians = [answer["median_s"] for answer in answers]
    median = statistics.median(medians) if medians else None
    middle, low, high = ratios(medians, reference) or (None, None, None)
    peaks = [answer["peak_memory_bytes"] for answer in answers if answer["peak_memory_bytes"] is not None]
    work = model_gflop(bench)
    return {
        "kind": "speed",
        "bench": bench.name,
        "library": entry.peer.library,
        "library_version": verdict.library_version,
        "torch": verdict.torch,
        "memory": entry.memory,
        "schedule": verdict.schedule or entry.peer.schedule,
        "status": verdict.status,
        "reason": verdict.reason,
        "rounds": len(answers),
        "round_medians_s": medians,
        "median_s": median,
        "ratio_to_ours": middle,
        "ratio_low": low,
        "ratio_high": high,
        "grad_rel_error": verdict.error,
        # The first round's: compilers have their caches afterwards.
        "compile_s": answers[0]["compile_s"] if answers else None,
        "peak_memory_bytes": int(statistics.median(peaks)) if peaks else None,
        "threads": common["threads"],
        "machine": common["machine"],
        "machine_gflops": rate,
        "model_gflop": work,
        "machine_share": work / median / rate if median and rate else None,
        "python": verdict.python,
        "commit": common["commit"],
        "dirty": common["dirty"],
        "started_at": common["started_at"],
    }


def target(results: Path, bench: str, machine: str) -> Path:
    """Where the rows of a bench on a machine of this kind lie."""
    return results / "records" / "speed" / f"{bench}-{machine}.json"


def refuse_to_replace(paths: Sequence[Path], partial: str | None) -> None:
    """Keep a part of a race from taking the place of a whole one; ``partial`` names the option that makes it one.

    Raises:
        MamlBenchError: it would.
    """
    there = [path for path in paths if path.exists()]
    if partial and there:
        raise MamlBenchError(
            f"{there[0]} is there, and {partial} makes this race a part of one, which does not replace it: "
            "choose another folder with --results, or race all"
        )


def save(path: Path, content: Sequence[dict[str, Any]]) -> None:
    """Write the rows whole, in place of earlier ones."""
    atomic_write(path, json.dumps(list(content), indent=1, allow_nan=False) + "\n")
