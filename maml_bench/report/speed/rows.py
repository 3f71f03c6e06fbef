"""Speed records: lists of flat rows in ``records/speed/*.json``.

A ``speed`` row is the result of one library in a race on one bench; it is checked when it is read. A ``growth`` row is
one point of a curve of the cost of a step while one quantity, the axis, grows. The bench that made these is gone, and
its records are still shown as they are. Races that a later one of the same machine and peers replaced stay in
``records/speed/superseded``, which no table reads. Units are part of the names. A number that was not measured is None.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from maml_bench.checked import construct
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import read_bytes
from maml_bench.record_files import skipped

OURS = "maml-bench"
LOOP = "loop"
"""The name of the plain loop of our own core, which every race includes for comparison; it is not a peer."""
BENCHES = (
    *("omniglot-q1", "omniglot-q15", "omniglot-20w1s", "mini-5w1s", "sinusoid", "fomaml-q1", "anil-q1"),
    *("protonet-omniglot", "protonet-mini", "matching-omniglot", "relation-omniglot", "reptile-omniglot"),
)
"""Benches in reading order; any other bench comes after them, and loaders come last."""
KINDS = ("speed", "growth")


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


def load(results: Path) -> list[Race]:
    """All races below ``results``, in path order.

    A row of our own core that takes the curvature from another share of the rollouts than ours keeps its time, and has
    no ratio.

    A file is skipped with a `Notice` if it cannot be read or is not JSON, or if one of its rows is of an unknown kind,
    lacks a key or has a value of the wrong type.
    """
    rows = [_race(raw, where) for raw, where in _raw(results) if raw["kind"] == "speed"]
    ours = {key: our_row(entries) for key, entries in races(rows).items()}
    return [_like_for_like(row, ours[row.bench, row.machine]) for row in rows]


def load_growth(results: Path) -> list[dict[str, Any]]:
    """All points of growth below ``results`` as they stand in their files, in path order; see `load` for what is
    skipped."""
    return [raw for raw, _ in _raw(results) if raw["kind"] == "growth"]


def races(rows: Iterable[Race]) -> dict[tuple[str, str], list[Race]]:
    """The races by (bench, machine) in reading order. Their rows are sorted by speed, the fastest first."""
    found: dict[tuple[str, str], list[Race]] = {}
    for row in rows:
        found.setdefault((row.bench, row.machine), []).append(row)

    def place(key: tuple[str, str]) -> tuple[bool, int, str, str]:
        bench, machine = key
        return found[key][0].loads, (BENCHES.index(bench) if bench in BENCHES else len(BENCHES)), bench, machine

    return {
        key: sorted(found[key], key=lambda row: (not row.ok, row.cost, row.library)) for key in sorted(found, key=place)
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


def _like_for_like(row: Race, ours: Race | None) -> Race:
    """The row; one of our own core that computes more of the curvature, or less, loses its ratio."""
    if ours is None or not row.library.startswith((OURS, LOOP)) or _share(row) == _share(ours):
        return row
    return replace(row, ratio_to_ours=None, ratio_low=None, ratio_high=None)


def _share(row: Race) -> str:
    """The share of the rollouts from which the curvature is taken; all of them where the row does not say it."""
    found = re.search(r"outer\.trust\.share=([\d.]+)", row.schedule or "")
    return found.group(1) if found else "1"


def flat(row: Race) -> dict[str, Any]:
    """The row as it stands in its file: one plain dict, ready for JSON."""
    plain = asdict(row)
    more: dict[str, Any] = plain.pop("more")
    return plain | more


def _raw(results: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Every row of the speed records below ``results``, and where it stands, in words.

    A file that cannot be read is skipped with a `Notice`.
    """
    for path in sorted((results / "records" / "speed").glob("*.json")):
        try:
            yield from _rows(path)
        except MamlBenchError as error:
            skipped(path, error)


def _rows(path: Path) -> list[tuple[dict[str, Any], str]]:
    """The rows of one file, all of which have a known kind and the form of their kind."""
    try:
        content = json.loads(read_bytes(path))
    except OSError as error:
        raise MamlBenchError(f"speed record {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise MamlBenchError(f"speed record {path} is not valid JSON: {error}") from error
    if not isinstance(content, list):
        raise MamlBenchError(f"speed record {path} is not a list of rows")
    found = []
    for count, raw in enumerate(content, 1):
        where = f"speed record {path}: row {count}"
        if not isinstance(raw, dict):
            raise MamlBenchError(f"{where} is not a table")
        if raw.get("kind") not in KINDS:
            raise MamlBenchError(f"{where} is of kind {raw.get('kind')!r}{nearest(str(raw.get('kind')), KINDS)}")
        if raw["kind"] == "speed":
            _race(raw, where)
        found.append((raw, where))
    return found


def _race(raw: dict[str, Any], where: str) -> Race:
    known = {f.name for f in fields(Race)} - {"more"}
    values = {key: value for key, value in raw.items() if key in known}
    try:
        return construct(Race, {**values, "more": {k: v for k, v in raw.items() if k not in known}}, where)
    except MamlBenchError as error:
        raise MamlBenchError(str(error) if where in str(error) else f"{where} {error}") from error
