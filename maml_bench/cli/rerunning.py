"""Runs of two sets of records once more, by two versions of the code in turns: ``maml-bench compare --rerun``."""

import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import maml_bench
from maml_bench.cli.terminal import say
from maml_bench.errors import MamlBenchError
from maml_bench.harness.turns import Command, take_turns
from maml_bench.record import Record
from maml_bench.record_files import load_all
from maml_bench.report import step_times
from maml_bench.report.compare import Comparison, Rules, compare
from maml_bench.report.pairing import Name, match, name_of, read

SECONDS = 10.0
"""A run is repeated for about so many seconds of outer steps, unless the number of steps is given."""
LEAST_STEPS = 20 * step_times.MIN_BLOCKS
TURN_S, STEPS_A_TURN = 0.1, 10
"""The least length of a turn. Short turns let a slow moment of the machine meet all versions, and one step in ten may
have a pause in it without an influence on the 5th percentile of a block."""


@dataclass(frozen=True)
class Code:
    """A version of maml-bench: the interpreter that runs it and, for a checkout, the folder of its package."""

    python: str
    folder: Path | None = None

    @classmethod
    def at(cls, place: Path | None) -> "Code":
        """The version at an interpreter or in a checkout; without a place, the one that is running.

        Raises:
            MamlBenchError: there is neither.
        """
        if place is None:
            return cls(sys.executable, Path(maml_bench.__file__).parents[1])
        if (place / "maml_bench" / "__init__.py").is_file():
            return cls(sys.executable, place.absolute())
        if place.is_file() and os.access(place, os.X_OK):
            return cls(str(place.absolute()))
        inside = [python for python in (place / "bin/python", place / "Scripts/python.exe") if python.is_file()]
        near = f" (did you mean {inside[0]}?)" if inside else ""
        raise MamlBenchError(f"{place} is neither a Python interpreter nor a folder with maml_bench in it{near}")

    def command(self, *arguments: str) -> Command:
        """``maml-bench`` with arguments. What is imported depends neither on the working folder nor on our path."""
        apart = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        path = {} if self.folder is None else {"PYTHONPATH": str(self.folder)}
        return Command([self.python, "-P", "-m", "maml_bench", *arguments], apart | path)


@dataclass(frozen=True)
class Repeat:
    """A run to be repeated as a record tells, for ``steps`` outer steps, almost without validation and test."""

    record: Record
    steps: int

    @classmethod
    def of(cls, record: Record, steps: int | None) -> "Repeat":
        """The repetition of a record's run for as many steps, or for as many as take about `SECONDS`.

        Raises:
            MamlBenchError: the run was made with code of a user's, which the record does not hold, or by several
                processes together.
        """
        if record.processes > 1:
            raise MamlBenchError(
                f"a run of {record.recipe['id']} cannot be repeated, because {record.devices} made it together: run it "
                "by hand with both versions"
            )
        for part in ("setup", "tasks", "network"):
            if "sha256" in (record.recipe.get(part) or {}):
                raise MamlBenchError(
                    f"a run of {record.recipe['id']} cannot be repeated, because its {part} "
                    f"{record.recipe[part]['name']!r} is code of your own, which records do not hold: run it by hand "
                    "with both versions"
                )
        usual = max(LEAST_STEPS, math.ceil(SECONDS / record.timing_s["outer_step"]["median"]))
        return cls(record, min(steps or usual, record.budget_steps))

    def arguments(self, seed: int, results: Path) -> list[str]:
        """The arguments of ``maml-bench``."""
        r, recipe = self.record, self.record.recipe
        settings = [s for s in recipe.get("changed") or () if not s.startswith(("validation.", "test"))]
        settings += ["validation.episodes=0", f"test=[{{{_shortest_test(r)}}}]"]
        return [
            *("run", recipe["id"], "--preset", recipe["preset"], "--setup", recipe["setup"]["name"]),
            *("--seeds", str(seed), "--threads", str(r.threads), "--device", r.device, "--schedule", r.schedule),
            *("--budget", f"{self.steps}steps", "--results", str(results), "--no-report"),
            *(word for setting in settings for word in ("--set", setting)),
        ]


def compare_again(
    base: str, new: Path, codes: tuple[Code, Code], rules: Rules, *, repeats: int, steps: int | None
) -> Comparison:
    """As `maml_bench.compare`, but with step times of repeated runs in place of those of the records.

    Raises:
        MamlBenchError: as `compare`; no run of both sides has step times; or a version could not repeat a run.
    """
    stored = compare(base, new, rules)
    runs = repeated(base, new, steps)
    with rerun(runs, codes, repeats=repeats) as (old, fresh):
        again = compare(old, fresh, rules)
    kept = [finding for finding in stored.findings if finding.quantity != "outer_step_s"]
    times = [finding for finding in again.findings if finding.quantity in ("outer_step_s", "status")]
    return Comparison(sorted([*kept, *times], key=lambda f: (f.recipe, f.setup, f.preset, f.kind)))


def repeated(base: str | Path, new: str | Path, steps: int | None) -> list[Repeat]:
    """The timed runs that both sides have, one for each name, as the newest record of ``new`` tells.

    Raises:
        MamlBenchError: there are none.
    """
    found: dict[Name, Record] = {}
    for one in match(read(base), read(new)):
        well = [new for old, new in one.pairs if all(r.status == "ok" and step_times.timed(r) for r in (old, new))]
        found |= {name_of(record): record for record in sorted(well, key=lambda record: record.started_at)}
    if not found:
        raise MamlBenchError(f"{base} and {new} have no run with timed steps in common, so there is nothing to repeat")
    return [Repeat.of(record, steps) for record in found.values()]


@contextmanager
def rerun(runs: Sequence[Repeat], codes: Sequence[Code], *, repeats: int) -> Iterator[list[Path]]:
    """Repeat each run ``repeats`` times by every version of the code, in turns; yield a results folder for each.

    Raises:
        MamlBenchError: a version could not repeat a run.
    """
    with tempfile.TemporaryDirectory() as work:
        folders = [Path(work, str(number)) for number in range(len(codes))]
        for number, run in enumerate(runs, 1):
            name = " ".join(name_of(run.record)[:3])
            say(f"run {number} of {len(runs)}: {name}, {repeats} times {run.steps:,} steps of each version, in turns")
            for seed in range(repeats):
                once(run, codes, folders, seed)
                say(f"  repeat {seed + 1} of {repeats}: {_times(run, folders, seed)}")
        yield folders


def once(run: Repeat, codes: Sequence[Code], folders: Sequence[Path], seed: int) -> None:
    """Repeat a run once by every version of the code, in turns; the records go below ``folders``.

    Raises:
        MamlBenchError: a version could not repeat it.
    """
    turn_s = max(TURN_S, STEPS_A_TURN * float(run.record.timing_s["outer_step"]["median"]))
    # Who begins changes with every repeat, so that none always has the machine as the other left it.
    order = [*range(len(codes))][:: 1 if seed % 2 else -1]
    ended = take_turns([codes[i].command(*run.arguments(seed, folders[i])) for i in order], turn_s)
    for i, one in sorted(zip(order, ended, strict=True)):
        if one.failure:
            reason = one.failure.removeprefix("error: ")
            place = codes[i].folder or codes[i].python
            raise MamlBenchError(f"the version at {place} could not repeat {name_of(run.record).recipe}: {reason}")


def _times(run: Repeat, folders: Sequence[Path], seed: int) -> str:
    """The step times of one repeat, in words."""
    name, words = name_of(run.record), []
    for folder in folders:
        mine = [r for _, r in load_all(folder) if r.seed == seed and name_of(r) == name and r.step_blocks_s]
        words.append(f"{1000 * step_times.step_s(mine):.4g} ms" if mine else "no times")
    return " and ".join(words)


def _shortest_test(record: Record) -> str:
    """A test of two tasks as TOML, of the shape of the record's first one."""
    test = record.evaluations[0]
    fields: dict[str, Any] = {"protocol": test.protocol, "split": test.split, "way": test.way, "shot": test.shot}
    fields |= {"query": test.query, "episodes": 2, "inner_steps": [min(point.inner_steps for point in test.points)]}
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in fields.items())  # TOML writes these as JSON does
