"""The Record: everything that one run leaves behind, as one JSON file. No torch here: tables are made without it.

A record holds the whole recipe, per-episode values, the learning curve, seconds per bucket and the machine, so that
every table and figure can be made again from the file alone. Units stand in the field names; accuracy is a fraction.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_write

SCHEMA = 1
Status = Literal["ok", "diverged", "failed"]


def mean_ci95(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % interval over episodes: 1.96 * std / sqrt(n), population std.

    This is the interval the MAML paper prints (its released main.py, lines 199-201). Non-finite values are left out;
    with none left both are nan.
    """
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return math.nan, math.nan
    mean = math.fsum(finite) / len(finite)
    variance = math.fsum((v - mean) ** 2 for v in finite) / len(finite)
    return mean, 1.96 * math.sqrt(variance / len(finite))


@dataclass(frozen=True)
class Metric:
    """What an episode's score is: its name, unit, direction, and from which value on an episode counts as diverged."""

    name: str
    unit: str = ""
    higher_is_better: bool = True
    diverged_above: float | None = None


@dataclass(frozen=True)
class Point:
    """Scores after one number of inner steps: one value per episode, in episode order, None where not finite."""

    inner_steps: int
    mean: float | None
    ci95: float | None
    diverged_episodes: int
    values: list[float | None]

    @classmethod
    def of(cls, inner_steps: int, values: Sequence[float], metric: Metric) -> "Point":
        mean, ci95 = mean_ci95(values)
        limit = math.inf if metric.diverged_above is None else metric.diverged_above
        diverged = sum(1 for v in values if not math.isfinite(v) or v > limit)
        return cls(inner_steps, _finite(mean), _finite(ci95), diverged, [_finite(v, 6) for v in values])


@dataclass(frozen=True)
class Evaluation:
    """One test on one split at one episode shape; ``query`` counts examples per class, ``episodes`` tasks.

    ``normalisation`` says whose statistics batch-norm took for the query: transductive (the query's own), support,
    one by one, or running; it means nothing where the network has no batch statistics. ``checkpoint`` says which
    meta-parameters were tested: last, selected (best by validation), ensemble (of the best), or given (in a file);
    ``checkpoint_steps`` after how many outer steps they were made, empty where that is not known or is the last.
    """

    protocol: str
    split: str
    way: int
    shot: int
    query: int
    episodes: int
    points: list[Point]
    normalisation: str = "transductive"
    checkpoint: str = "last"
    checkpoint_steps: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Curve:
    """The learning curve: one entry per validation; ``seconds`` are training clock, ``validation`` a mean score,
    ``env_steps`` steps in the world so far (empty where nobody acts)."""

    step: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    train_loss: list[float | None] = field(default_factory=list)
    validation: list[float | None] = field(default_factory=list)
    validation_ci95: list[float | None] = field(default_factory=list)
    inner_steps: int = 0
    episodes: int = 0
    env_steps: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """One run of one recipe with one seed on one machine.

    ``recipe`` is the whole recipe with the published numbers; ``recipe_id`` the hash of its content without them.
    ``status`` is ok, diverged (a loss stopped being a number) or failed; ``reason`` says why. ``outer_steps`` of
    ``budget_steps`` were done. ``network`` says what ran it: torch operators, or kernels of our own for some blocks.
    ``timing_s`` maps a clock bucket to its summary (total, count, median, p05, p95), all in seconds. ``exhibit`` holds
    what a task family shows in a figure of its own. ``machine_gflops`` is a convolution rate measured when the run
    started, in 1e9 floating-point operations per second with the run's threads. ``kind`` is run, or evaluation:
    weights from files were tested, nothing was trained; ``weights`` then has each ``file``, ``sha256`` and ``header``.
    ``earlier`` has the segments before the run was moved here from another machine, or to another torch, device,
    schedule or number of threads: those conditions, the ``commit`` and the ``outer_steps`` by then.
    """

    recipe: dict[str, Any]
    recipe_id: str
    seed: int
    status: Status
    reason: str | None
    task_version: int
    metric: Metric
    data: dict[str, Any] | None
    outer_steps: int
    budget_steps: int
    env_steps: int | None
    evaluations: list[Evaluation]
    curve: Curve
    exhibit: dict[str, Any] | None
    timing_s: dict[str, dict[str, float]]
    train_s: float
    peak_memory_bytes: int
    memory: str
    device: str
    threads: int
    schedule: str
    machine: dict[str, Any]
    machine_id: str
    machine_gflops: float
    software: dict[str, str]
    commit: str | None
    dirty: bool | None
    started_at: str
    sittings: int = 1
    network: str = "torch operators"
    kind: str = "run"
    weights: list[dict[str, Any]] = field(default_factory=list)
    earlier: list[dict[str, Any]] = field(default_factory=list)
    schema: int = SCHEMA

    @property
    def machines(self) -> str:
        """``machine_id``, after those that the run was moved from: what its seconds are of."""
        return "+".join([*(segment["machine"] for segment in self.earlier), self.machine_id])

    @property
    def budget_share(self) -> float:
        """Share of the recipe's outer steps that were done, 0 to 1; 1 for a setup that does not train."""
        return self.outer_steps / self.budget_steps if self.budget_steps else 1.0

    @property
    def whole(self) -> bool:
        """Whether nothing is left to run: the budget is used up, or it diverged, which a re-run would repeat."""
        return self.status == "diverged" or (self.status == "ok" and self.outer_steps >= self.budget_steps)

    @property
    def steps_per_s(self) -> float | None:
        return self.outer_steps / self.train_s if self.train_s > 0 else None

    @property
    def weights_id(self) -> str:
        """Eight hex digits of the content of the weights that were tested; empty for a run."""
        return weights_id([file["sha256"] for file in self.weights])

    @property
    def relative_path(self) -> Path:
        """``records/<tasks>/<setup>/<recipe>-<preset>-<hash8>-s<seed>-<machine8>.json``, below a results folder.

        With weights from files, ``w<hash8>-`` of their content before the seed.
        """
        return relative_path(self.recipe, self.recipe_id, self.seed, self.machine_id, self.weights_id)

    def save(self, results: Path) -> Path:
        """Write the record below ``results``, whole or not at all, and return its path."""
        path = results / self.relative_path
        atomic_write(path, json.dumps(asdict(self), indent=1, allow_nan=False, sort_keys=True) + "\n")
        return path


def relative_path(recipe: dict[str, Any], recipe_id: str, seed: int, machine_id: str, weights: str = "") -> Path:
    """Where the record of a plain recipe belongs, below a results folder; ``weights`` is a `weights_id`."""
    tested = f"w{weights}-" if weights else ""
    name = f"{recipe['id']}-{recipe['preset']}-{recipe_id}-{tested}s{seed}-{machine_id}.json"
    return Path("records", recipe["tasks"]["name"], recipe["setup"]["name"], name)


def weights_id(sha256: Sequence[str]) -> str:
    """What tells weights apart by their content: the first digits of one file's hash, else of the hash of all."""
    if len(sha256) > 1:
        return hashlib.sha256("".join(sha256).encode()).hexdigest()[:8]
    return sha256[0][:8] if sha256 else ""


def load(path: Path) -> Record:
    """Read one record.

    Raises:
        MamlBenchError: the file is missing, not JSON, of a newer schema, or lacks a field.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MamlBenchError(f"record {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise MamlBenchError(f"record {path} is not valid JSON: {error}") from error
    try:
        return _from_plain(migrate(raw))
    except MamlBenchError as error:
        raise MamlBenchError(f"record {path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise MamlBenchError(f"record {path} does not have the fields of a record: {error}") from error


def migrate(raw: dict[str, Any]) -> dict[str, Any]:
    """Bring a record's plain form to the present schema; one step per old schema belongs here."""
    if not isinstance(raw, dict) or "schema" not in raw:
        raise KeyError("schema")
    if raw["schema"] > SCHEMA:
        raise MamlBenchError(
            f"record schema {raw['schema']} is newer than {SCHEMA}, the one this version reads; upgrade maml-bench"
        )
    return raw


def load_all(results: Path) -> Iterator[tuple[Path, Record]]:
    """Yield (path, record) for every run record below ``results``, in path order."""
    folder = results / "records"
    for path in sorted(folder.rglob("*.json")):
        if path.relative_to(folder).parts[0] != "speed":
            yield path, load(path)


def _from_plain(raw: dict[str, Any]) -> Record:
    plain = dict(raw)
    plain["metric"] = Metric(**raw["metric"])
    plain["curve"] = Curve(**raw["curve"])
    plain["evaluations"] = [
        Evaluation(**{**evaluation, "points": [Point(**point) for point in evaluation["points"]]})
        for evaluation in raw["evaluations"]
    ]
    unknown = set(plain) - {f.name for f in fields(Record)}
    if unknown:
        raise KeyError(f"unknown field {sorted(unknown)[0]}")
    return Record(**plain)


def _finite(value: float, digits: int | None = None) -> float | None:
    """``value`` for JSON: None where it is not finite, rounded to significant ``digits`` where that saves space."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}") if digits else float(value)
