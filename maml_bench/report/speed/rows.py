"""Speed records: lists of flat rows in ``records/speed/*.json``, which are checked when they are read.

A ``speed`` row is the result of one library in a race on one bench. A ``growth`` row is one point of a curve of the
cost of a step while one quantity, the axis, grows; the bench that made them is gone, and its records are still shown.
Units are part of the names. A number that was not measured is None."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from maml_bench.checked import construct
from maml_bench.errors import MamlBenchError, nearest

OURS = "maml-bench"
LOOP = "loop"
"""The name of the plain loop of our own core, which every race includes for comparison; it is not a peer."""
BENCHES = ("omniglot-q1", "omniglot-q15", "omniglot-20w1s", "mini-5w1s", "sinusoid", "fomaml-q1", "anil-q1")
"""Benches in reading order; any other bench comes after them, and loaders come last."""
AXES = ("meta_batch", "inner_steps", "shots", "filters")
"""Axes of growth in reading order."""


@dataclass(frozen=True)
class Race:
    """One library on one bench under one memory setting.

    ``schedule`` says how our own rows go through the tasks; one that starts with ``auto`` is what users get by default.
    ``ratio_to_ours`` is above 1 where ours is faster, and ``ratio_low`` and ``ratio_high`` are its extremes over the
    rounds. ``peak_memory_bytes`` is counted above what the imports took. ``machine_share`` (0 to 1) is the model's
    arithmetic per second of the median step, divided by the machine's convolution rate. A loader has
    ``episodes_per_s``. ``more`` keeps all other keys of the row.
    """

    kind: Literal["speed"]
    bench: str
    library: str
    library_version: str | None
    torch: str | None
    memory: Literal["default", "retained"]
    schedule: str | None
    status: Literal["ok", "not built", "not expressible", "gradient differs", "failed"]
    reason: str | None
    rounds: int | None
    round_medians_s: tuple[float, ...] | None
    median_s: float | None
    ratio_to_ours: float | None
    ratio_low: float | None
    ratio_high: float | None
    grad_rel_error: float | None
    compile_s: float | None
    peak_memory_bytes: int | None
    threads: int | None
    machine: str
    machine_gflops: float | None
    model_gflop: float | None
    machine_share: float | None
    python: str | None
    commit: str | None
    dirty: bool | None
    started_at: str | None
    episodes_per_s: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ok and not (self.median_s or self.episodes_per_s):
            raise MamlBenchError("is ok, but has neither a median_s nor episodes_per_s above zero")

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def ours(self) -> bool:
        return self.library == OURS

    @property
    def loads(self) -> bool:
        """Whether this is a race of loaders, which are measured in episodes per second."""
        return self.bench.startswith("loader-") or self.episodes_per_s is not None

    @property
    def name(self) -> str:
        """Library and version."""
        return f"{self.library} {self.library_version}" if self.library_version else self.library

    @property
    def cost(self) -> float:
        """Seconds of a step, or for loaders of an episode; infinite where not measured."""
        if self.loads:
            return 1 / self.episodes_per_s if self.episodes_per_s else math.inf
        return self.median_s or math.inf


@dataclass(frozen=True)
class Growth:
    """The cost of a step of one library and schedule with ``axis`` at ``value`` and all else as in the base point.

    ``reason`` says why a point was not measured. ``peak_memory_bytes`` is counted above what the imports took. ``more``
    keeps all other keys of the row.
    """

    kind: Literal["growth"]
    axis: str
    value: int
    library: str
    library_version: str | None
    schedule: str | None
    memory: Literal["default", "retained"]
    status: Literal["ok", "does not fit", "too slow", "failed"]
    reason: str | None
    rounds: int | None
    median_s: float | None
    peak_memory_bytes: int | None
    threads: int | None
    torch: str | None
    machine: str
    machine_gflops: float | None
    commit: str | None
    dirty: bool | None
    started_at: str | None
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status == "ok" and not (self.median_s and self.peak_memory_bytes is not None):
            raise MamlBenchError("is ok, but lacks median_s or peak_memory_bytes")

    @property
    def line(self) -> str:
        """The curve that this point belongs to: our schedule, or the other library."""
        return str(self.schedule) if self.library == OURS else self.library


Row = TypeVar("Row", Race, Growth)
_KINDS: dict[str, type[Race] | type[Growth]] = {"speed": Race, "growth": Growth}


def load(results: Path) -> list[Race | Growth]:
    """All rows of the speed records below ``results``, in path order.

    Raises:
        MamlBenchError: a file cannot be read or is not JSON, a row is of an unknown kind, lacks a key or has a value
            of the wrong type.
    """
    found: list[Race | Growth] = []
    for path in sorted((results / "records" / "speed").glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise MamlBenchError(f"speed record {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise MamlBenchError(f"speed record {path} is not valid JSON: {error}") from error
        if not isinstance(content, list):
            raise MamlBenchError(f"speed record {path} is not a list of rows")
        found += [_row(raw, f"speed record {path}: row {count}") for count, raw in enumerate(content, 1)]
    return found


def races(rows: Iterable[Race | Growth]) -> dict[tuple[str, str], list[Race]]:
    """The races by (bench, machine) in reading order. Their rows are sorted by speed, the fastest first."""
    found: dict[tuple[str, str], list[Race]] = {}
    for row in rows:
        if isinstance(row, Race):
            found.setdefault((row.bench, row.machine), []).append(row)
    ordered = sorted(found, key=lambda key: (found[key][0].loads, *_place(key[0], BENCHES), key[1]))
    return {key: sorted(found[key], key=lambda row: (not row.ok, row.cost, row.library)) for key in ordered}


def curves(rows: Iterable[Race | Growth]) -> dict[tuple[str, str], dict[str, list[Growth]]]:
    """The points of growth by (machine, axis) and line, with our schedules and small values first.

    Another library has a line for each of its schedules.
    """
    points = sorted((row for row in rows if isinstance(row, Growth)), key=lambda row: row.value)
    schedules: dict[str, set[str]] = {}
    for row in points:
        schedules.setdefault(row.library, set()).update([row.schedule] if row.schedule else [])
    found: dict[tuple[str, str], dict[str, list[Growth]]] = {}
    for row in points:
        several = row.library != OURS and len(schedules[row.library]) > 1
        line = f"{row.line} ({row.schedule})" if several else row.line
        found.setdefault((row.machine, row.axis), {}).setdefault(line, []).append(row)
    return {
        key: dict(sorted(found[key].items(), key=lambda line: (line[1][0].library != OURS, line[0])))
        for key in sorted(found, key=lambda key: (key[0], *_place(key[1], AXES)))
    }


def our_row(rows: Sequence[Race]) -> Race | None:
    """Our row of one race with the settings that users get: an ``auto`` schedule and, if there is one, retained
    memory."""
    mine = [row for row in rows if row.ours and row.ok]
    usual = [row for row in mine if (row.schedule or "").startswith("auto")] or mine
    return min(usual, key=lambda row: (row.memory != "retained", row.cost), default=None)


def best_peer(rows: Sequence[Race], memory: str) -> Race | None:
    """The fastest other library of one race under one memory setting, among those whose gradient equals ours."""
    rivals = (
        row
        for row in rows
        if row.ok and row.library != LOOP and not row.library.startswith(OURS) and row.memory == memory
    )
    return min(rivals, key=lambda row: row.cost, default=None)


def flat(row: Race | Growth) -> dict[str, Any]:
    """The row as it stands in its file: one plain dict, ready for JSON."""
    plain = asdict(row)
    more: dict[str, Any] = plain.pop("more")
    return plain | more


def _row(raw: Any, where: str) -> Race | Growth:
    if not isinstance(raw, dict):
        raise MamlBenchError(f"{where} is not a table")
    kind = raw.get("kind")
    if kind not in _KINDS:
        raise MamlBenchError(f"{where} is of kind {kind!r}{nearest(str(kind), _KINDS)}")
    cls = _KINDS[kind]
    known = {f.name for f in fields(cls)} - {"more"}
    values = {key: value for key, value in raw.items() if key in known}
    try:
        return construct(cls, {**values, "more": {k: v for k, v in raw.items() if k not in known}}, where)
    except MamlBenchError as error:
        raise MamlBenchError(str(error) if where in str(error) else f"{where} {error}") from error


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order)), name
