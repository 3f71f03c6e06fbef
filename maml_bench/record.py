"""The Record: everything that one run leaves behind, as one JSON file. No torch here: tables are made without it.

A record holds the whole recipe, per-episode values, the learning curve, seconds per bucket and the machine, so that
every table and figure can be made again from the file alone. Units stand in the field names; accuracy is a fraction.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_doc import Doc
from annotated_types import Ge, Le

from maml_bench.files import atomic_write, refuse_unfit_name
from maml_bench.record_search import Status, Tuned
from maml_bench.record_tables import Count, Earlier, Holds, RecipeTable, Seconds, WeightsFile

SCHEMA = 2


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
    """What the score of an episode is."""

    name: Annotated[str, Doc("`accuracy`, `mse`, `return` or `nats` (an example, of a density).")]
    unit: Annotated[str, Doc("The unit of the score, if it has one.")] = ""
    higher_is_better: Annotated[bool, Doc("Whether a larger score is the better one.")] = True
    diverged_above: Annotated[float | None, Doc("An episode with a larger score counts as diverged.")] = None

    def order(self, mean: float, nonfinite: int) -> tuple[int, float]:
        """The sort key of a validation, smallest is best: first the number of tasks whose score is not finite, which
        the mean leaves out, and then the mean. So one with such tasks never beats one without."""
        return nonfinite, -mean if self.higher_is_better else mean


@dataclass(frozen=True)
class Point:
    """The scores after one number of inner steps."""

    inner_steps: Annotated[Count, Doc("The number of inner steps; in a sequence, how often a class was shown before.")]
    mean: Annotated[float | None, Doc("The mean over the episodes with a finite score.")]
    ci95: Annotated[float | None, Doc("Half-width of the 95 % interval over these episodes.")]
    diverged_episodes: Annotated[Count, Doc("Episodes whose score is not finite, or beyond `metric.diverged_above`.")]
    values: Annotated[list[float | None], Doc("The score of each episode, in their order; nothing where not finite.")]

    @classmethod
    def of(cls, inner_steps: int, values: Sequence[float], metric: Metric) -> "Point":
        mean, ci95 = mean_ci95(values)
        limit = math.inf if metric.diverged_above is None else metric.diverged_above
        diverged = sum(1 for v in values if not math.isfinite(v) or v > limit)
        return cls(inner_steps, _finite(mean), _finite(ci95), diverged, [_finite(v, 6) for v in values])


@dataclass(frozen=True)
class Evaluation:
    """One test on one split with one shape of episodes."""

    protocol: Annotated[str, Doc("The name of the protocol: `paper` or `modern`.")]
    split: Annotated[str, Doc("The split of the tasks: `test`, `validation` or `train`.")]
    way: Annotated[Count, Doc("Classes of a task.")]
    shot: Annotated[Count, Doc("Support examples of a class, or rollouts before each inner step.")]
    query: Annotated[Count, Doc("Query examples of a class, or rollouts that are scored.")]
    episodes: Annotated[Count, Doc("Number of tasks.")]
    points: Annotated[list[Point], Doc("The scores after each number of inner steps.")]
    normalisation: Annotated[
        str,
        Doc(
            "Whose statistics batch-norm took for the query: `transductive` (the query's own), `support`, `one by one` "
            "or `running`. It means nothing for a network without batch statistics."
        ),
    ] = "transductive"
    checkpoint: Annotated[
        str,
        Doc(
            "Which meta-parameters were tested: `last`, `selected` (the best by validation), `ensemble` (of the best) "
            "or `given` (in a file)."
        ),
    ] = "last"
    checkpoint_steps: Annotated[
        list[Count], Doc("The outer steps after which they were made; empty if unknown, or if they are the last.")
    ] = field(default_factory=list)
    best: Annotated[
        list[float],
        Doc(
            "The best expected score of each task, for an agent that knows it. The regret is this minus the score. "
            "It is empty where the family does not know it."
        ),
    ] = field(default_factory=list)


@dataclass(frozen=True)
class Curve:
    """The learning curve, with one entry per validation."""

    step: Annotated[list[Count], Doc("Outer steps done.")] = field(default_factory=list)
    seconds: Annotated[list[float], Doc("Seconds of training so far.")] = field(default_factory=list)
    train_loss: Annotated[list[float | None], Doc("Mean training loss since the last entry.")] = field(
        default_factory=list
    )
    validation: Annotated[list[float | None], Doc("Mean validation score, over the tasks with a finite score.")] = (
        field(default_factory=list)
    )
    validation_ci95: Annotated[list[float | None], Doc("Half-width of its 95 % interval.")] = field(
        default_factory=list
    )
    inner_steps: Annotated[Count, Doc("Inner steps before each validation score.")] = 0
    episodes: Annotated[Count, Doc("Validation tasks of each entry.")] = 0
    env_steps: Annotated[list[Count], Doc("Steps in the environment so far, in reinforcement learning.")] = field(
        default_factory=list
    )
    validation_nonfinite: Annotated[
        list[Count | None],
        Doc("Validation tasks whose score is not finite; nothing where that is not known. Empty in older records."),
    ] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """One run of one recipe with one seed on one machine."""

    recipe: Annotated[dict[str, Any], Holds(RecipeTable), Doc("The whole recipe, with the published numbers.")]
    recipe_id: Annotated[str, Doc("Hash of the recipe's content without title and published numbers.")]
    seed: Annotated[Count, Doc("The seed of the run.")]
    status: Annotated[Status, Doc("`diverged`: a loss was not a finite number. `failed`: the run ended with an error.")]
    reason: Annotated[str | None, Doc("Why the run diverged or failed.")]
    task_version: Annotated[
        Count, Doc("Version of the task family. Records of different versions have other episodes.")
    ]
    metric: Annotated[Metric, Doc("What the score of an episode is.")]
    data: Annotated[dict[str, Any] | None, Doc("Name, version, hash and class split of the data set, if there is one.")]
    outer_steps: Annotated[Count, Doc("Outer steps that were done.")]
    budget_steps: Annotated[Count, Doc("Outer steps that the recipe asks for.")]
    env_steps: Annotated[Count | None, Doc("Steps in the environment during training, in reinforcement learning.")]
    evaluations: Annotated[list[Evaluation], Doc("The tests after training.")]
    curve: Annotated[Curve, Doc("The learning curve.")]
    exhibit: Annotated[dict[str, Any] | None, Doc("Data of a figure that only this task family has.")]
    timing_s: Annotated[
        dict[str, Annotated[dict[str, int | float], Holds(Seconds)]],
        Doc("For each part of the work (such as `outer_step`): total, count, median, p05 and p95 of its seconds."),
    ]
    train_s: Annotated[float, Ge(0), Doc("Seconds of training: sampling and outer steps, without validation and test.")]
    peak_memory_bytes: Annotated[Count, Doc("Most memory held at once, of the process or of the GPU.")]
    memory: Annotated[str, Doc("Whether freed memory is retained in the process (`retained`) or not (`default`).")]
    device: Annotated[str, Doc("The torch device.")]
    threads: Annotated[Count, Doc("Threads that torch used, in each process.")]
    schedule: Annotated[str, Doc("How the meta-step was executed: `loop`, `vmap`, `traced` or `compiled`.")]
    machine: Annotated[dict[str, Any], Doc("Kind of processor, its cores, the memory, the operating system.")]
    machine_id: Annotated[str, Doc("Hash of `machine`.")]
    machine_gflops: Annotated[
        float, Doc("Convolution rate when the run started, in 1e9 operations a second with the threads of the run.")
    ]
    software: Annotated[dict[str, str], Doc("Versions of Python, torch, numpy and maml-bench.")]
    commit: Annotated[str | None, Doc("Commit of the source, if the package ran from a clone.")]
    dirty: Annotated[bool | None, Doc("Whether the source differed from the commit.")]
    started_at: Annotated[str, Doc("Date and time of the start, in UTC.")]
    segments: Annotated[
        Count, Doc("Number of stretches in which the run was made. It is 1 without an interruption.")
    ] = 1
    network: Annotated[str, Doc("What computed the network: torch operators, or our kernels for some blocks.")] = (
        "torch operators"
    )
    kind: Annotated[str, Doc("`run`, or `evaluation`: weights from files were tested and nothing was trained.")] = "run"
    weights: Annotated[
        list[Annotated[dict[str, Any], Holds(WeightsFile)]],
        Doc("Of an evaluation: `file`, `sha256` and `header` of each file of weights."),
    ] = field(default_factory=list)
    step_blocks_s: Annotated[
        list[float],
        Doc(
            "Seconds of an outer step in up to 40 blocks of consecutive steps, in order. Each is the 5th percentile of "
            "its block, because other work on the machine disturbs the fastest steps least. Empty in older records and "
            "for fewer than 20 steps."
        ),
    ] = field(default_factory=list)
    step_blocks_at_s: Annotated[
        list[float],
        Doc("The moment of each block of `step_blocks_s`, in seconds since 1970. It is empty in older records."),
    ] = field(default_factory=list)
    earlier: Annotated[
        list[Annotated[dict[str, Any], Holds(Earlier)]],
        Doc("Conditions, commit and outer steps of earlier segments on another machine, torch, device or schedule."),
    ] = field(default_factory=list)
    parameters: Annotated[
        Count | None,
        Doc("How many numbers are learned over tasks: the network's and the setup's own. None in older records."),
    ] = None
    superseded: Annotated[
        str, Doc("Why other records take the place of this one. It is empty for a record that counts.")
    ] = ""
    trace: Annotated[
        str,
        Doc("The trace of the error with which the run failed; empty where it did not fail, and in older records."),
    ] = ""
    tuned: Annotated[
        list[Tuned],
        Doc(
            "The searches that found the values of this run. It is empty for a run that was not tuned. Where no key of "
            "a search is among the changed ones, the recipe's own values won."
        ),
    ] = field(default_factory=list)
    processes: Annotated[
        int, Ge(1), Doc("Number of processes that torchrun started to make the run together. It is 1 without torchrun.")
    ] = 1
    schema: Annotated[int, Ge(1), Le(SCHEMA), Doc("Version of this format.")] = SCHEMA

    @property
    def machines(self) -> str:
        """``machine_id``, after those that the run was moved from: what its seconds are of."""
        return "+".join([*(segment["machine"] for segment in self.earlier), self.machine_id])

    @property
    def devices(self) -> str:
        """``device``, or how many processes trained on a device of this kind if there were several."""
        kind = self.device.partition(":")[0]
        return self.device if self.processes == 1 else f"{self.processes} processes on {kind}"

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
        atomic_write(path, as_text(asdict(self)))
        return path


def as_text(content: dict[str, Any]) -> str:
    """JSON with sorted keys and one key a line. A list of numbers or words stands in one line."""
    text = json.dumps(content, indent=1, allow_nan=False, sort_keys=True)
    # A line break inside of a string is written as an escape. So each one found here is of the indentation.
    return re.sub(r"\[\n([^\[\]{}]*)\n *\]", _in_one_line, text) + "\n"


def _in_one_line(array: re.Match[str]) -> str:
    return f"[{' '.join(line.strip() for line in array[1].splitlines())}]"


def relative_path(recipe: dict[str, Any], recipe_id: str, seed: int, machine_id: str, weights: str = "") -> Path:
    """Where the record of a plain recipe belongs, below a results folder; ``weights`` is a `weights_id`.

    Raises:
        MamlBenchError: a name in the recipe cannot be a part of a file name, so that the record might lie elsewhere.
    """
    names = {"recipe": recipe["id"], "preset": recipe["preset"], "task family": recipe["tasks"]["name"]}
    for what, part in (names | {"setup": recipe["setup"]["name"]}).items():
        refuse_unfit_name(str(part), f"the {what} name")
    tested = f"w{weights}-" if weights else ""
    name = f"{recipe['id']}-{recipe['preset']}-{recipe_id}-{tested}s{seed}-{machine_id}.json"
    return Path("records", recipe["tasks"]["name"], recipe["setup"]["name"], name)


def weights_id(sha256: Sequence[str]) -> str:
    """What tells weights apart by their content: the first digits of one file's hash, else of the hash of all."""
    if len(sha256) > 1:
        return hashlib.sha256("".join(sha256).encode()).hexdigest()[:8]
    return sha256[0][:8] if sha256 else ""


def _finite(value: float, digits: int | None = None) -> float | None:
    """``value`` for JSON: None where it is not finite, rounded to significant ``digits`` where that saves space."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}") if digits else float(value)
