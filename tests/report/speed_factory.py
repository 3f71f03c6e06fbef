"""Speed rows with known numbers for the tests of speed tables and figures."""

import json
from pathlib import Path
from typing import Any

COMMON = {
    "threads": 2,
    "machine": "0603ed1a",
    "machine_gflops": 430.0,
    "commit": "0123456789abcdef",
    "dirty": False,
    "started_at": "2026-01-02T03:04:05Z",
}


def race(library: str = "torchmeta", median_s: float | None = 0.3, **fields: Any) -> dict[str, Any]:
    """A row of a race on omniglot-q1; ours takes 0.1 s, so that the ratio is 10 times the median."""
    ratio = None if median_s is None else median_s / 0.1
    plain = {
        "kind": "speed",
        "bench": "omniglot-q1",
        "library": library,
        "library_version": "1.8.0",
        "torch": "2.13.0",
        "memory": "retained",
        "schedule": None,
        "status": "ok",
        "reason": None,
        "rounds": 3,
        "round_medians_s": None if median_s is None else [0.9 * median_s, median_s, 1.2 * median_s],
        "median_s": median_s,
        "ratio_to_ours": ratio,
        "ratio_low": ratio and 0.9 * ratio,
        "ratio_high": ratio and 1.2 * ratio,
        "grad_rel_error": 2e-7,
        "compile_s": 0.0,
        "peak_memory_bytes": 512 * 2**20,
        "model_gflop": 10.75,
        "machine_share": None if median_s is None else 10.75 / median_s / 430,
        "python": "3.11.9",
        **COMMON,
    }
    return {**plain, **fields}


def ours(median_s: float = 0.1, **fields: Any) -> dict[str, Any]:
    """Our row as users get it."""
    return race("maml-bench", median_s, **{"library_version": "0.1.0", "schedule": "auto: native", **fields})


def loader(library: str = "torchmeta", episodes_per_s: float = 500.0, **fields: Any) -> dict[str, Any]:
    """A row of a race of loaders; ours loads 1,000 episodes a second."""
    nothing = dict.fromkeys(("round_medians_s", "median_s", "grad_rel_error", "model_gflop", "machine_share"))
    ratio = 1000 / episodes_per_s
    rates = {"episodes_per_s": episodes_per_s, "ratio_to_ours": ratio, "ratio_low": ratio, "ratio_high": ratio}
    return race(library, **{"bench": "loader-omniglot-5w1s", "memory": "default", **nothing, **rates, **fields})


def growth(axis: str = "meta_batch", value: int = 1, schedule: str | None = "vmap", **fields: Any) -> dict[str, Any]:
    """A point of growth: 10 ms and 20 MiB for each unit of ``value``."""
    plain = {
        "kind": "growth",
        "axis": axis,
        "value": value,
        "library": "maml-bench",
        "library_version": "0.1.0",
        "schedule": schedule,
        "memory": "retained",
        "status": "ok",
        "reason": None,
        "rounds": 1,
        "median_s": 0.01 * value,
        "peak_memory_bytes": 20 * 2**20 * value,
        "torch": "2.13.0",
        **COMMON,
    }
    return {**plain, **fields}


def lost(row: dict[str, Any], status: str, reason: str) -> dict[str, Any]:
    """The row of what could not be measured."""
    numbers = {key: None for key, value in row.items() if isinstance(value, float | list) and key != "machine_gflops"}
    return {**row, **numbers, "peak_memory_bytes": None, "status": status, "reason": reason}


def save(results: Path, *rows: dict[str, Any], name: str = "race-0603ed1a") -> Path:
    """Write rows as one speed record below ``results``."""
    path = results / "records" / "speed" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


# What follows draws plausible results for figures; the numbers mean nothing.

_FACTORS = {"torchmeta": 3.0, "learn2learn": 2.7, "torchopt": 3.7, "higher": 4.9, "jax": 11.0}
_BENCHES = ("omniglot-q1", "omniglot-q15", "omniglot-20w1s", "mini-5w1s", "sinusoid", "fomaml-q1", "anil-q1")


def races(machine: str = "0603ed1a") -> list[dict[str, Any]]:
    """Rows of seven benches and two loaders against five libraries under both memory settings."""
    rows = []
    for count, bench in enumerate(_BENCHES):
        common = {"bench": bench, "machine": machine}
        rows += [ours(**common), ours(0.13, memory="default", **common), ours(0.2, schedule="loop", **common)]
        for library, factor in _FACTORS.items():
            for memory, more in (("default", 1.3), ("retained", 1.0)):
                row = race(library, 0.1 * factor * more * (1 + 0.1 * count), memory=memory, **common)
                if library == "higher" and bench == "anil-q1":
                    row = lost(row, "not expressible", "it has no inner loop over a part of the parameters")
                if library == "jax" and bench == "mini-5w1s":
                    row = lost(row, "failed", "out of memory")
                rows.append(row)
    for bench in ("loader-omniglot-5w1s", "loader-mini-5w1s"):
        rows += [loader("maml-bench", 1000, bench=bench, machine=machine)]
        rows += [loader(n, 1000 / f, bench=bench, machine=machine) for n, f in (("torchmeta", 12), ("learn2learn", 40))]
    return rows


def curves(machine: str = "0603ed1a") -> list[dict[str, Any]]:
    """Points of four axes for four schedules of ours and one other library; some end early."""
    axes = {
        "meta_batch": [1, 2, 4, 8, 16, 32, 64, 128, 256],
        "inner_steps": [1, 2, 5, 10, 20],
        "shots": [1, 2, 5, 10, 20],
        "filters": [16, 32, 64, 128, 256],
    }
    rows = []
    for axis, values in axes.items():
        for place, (line, factor) in enumerate(
            {"loop": 3.0, "vmap": 1.6, "compiled": 1.2, "native": 1.0, "torchmeta": 3.5}.items()
        ):
            for value in values:
                power = 2 if axis == "filters" else 1
                scale = (value / values[0]) ** power
                row = growth(axis, value, machine=machine)
                row |= {
                    "median_s": 0.004 * factor * (1 + scale),
                    "peak_memory_bytes": int(2**20 * (20 + 8 * factor * scale)),
                }
                row |= {"schedule": None, "library": line} if line == "torchmeta" else {"schedule": line}
                if axis == "meta_batch" and value == 256 and place in (1, 2):
                    row = lost(row, "does not fit", "more than 16 GiB")
                if axis == "filters" and value >= 128 and place in (0, 4):
                    row = lost(row, "too slow", "a step took 12.1 s")
                rows.append(row)
    return rows
