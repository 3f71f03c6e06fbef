"""Processes that are ended by SIGKILL at random moments, and whether the same command comes to the same end."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hostility.calls import RUN, RUNS

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("small.py")
LONGEST_S = 120.0
MOVES = (
    *("seconds", "timing_s", "train_s", "step_blocks_s", "step_blocks_at_s", "started_at"),
    *("peak_memory_bytes", "machine_gflops", "segments", "commit", "dirty"),
)
"""Fields of a record that depend on the moment and the surroundings, or on how often a run was interrupted."""


@dataclass(frozen=True)
class Victim:
    """A command that is killed: its name, its arguments, and what it leaves, in a form that can be compared."""

    name: str
    arguments: tuple[str, ...]
    left: Callable[[Path], Any]


def kill(work: Path, count: int, seed: int, known: set[str]) -> Iterator[tuple[str, str, str]]:
    """End ``count`` processes of the victims in turn; yield the name of each kill, the verdict and why."""
    if not count:
        return
    wholes: dict[str, tuple[float, Any]] = {}
    for number in range(count):
        victim = VICTIMS[number % len(VICTIMS)]
        name = f"kill {victim.name} {seed} {number}"
        if name in known:
            continue
        if victim.name not in wholes:
            wholes[victim.name] = _whole(victim, work)
        took_s, whole = wholes[victim.name]
        print(f"{name} of {count}, at a moment within {took_s:.1f} s", file=sys.stderr)
        after_s = random.Random(f"{seed} {number}").uniform(0, took_s)
        yield (name, *_killed(victim, work, after_s, whole))


def _whole(victim: Victim, work: Path) -> tuple[float, Any]:
    """How long the command takes in peace, and what it leaves."""
    folder = _fresh(victim, work)
    begun_s = time.monotonic()
    ended = _process(victim, folder)
    _, said = ended.communicate(timeout=LONGEST_S)
    if ended.returncode:
        raise RuntimeError(f"{victim.name} ended with {ended.returncode}: {said.decode()[-500:]}")
    return time.monotonic() - begun_s, victim.left(folder)


def _killed(victim: Victim, work: Path, after_s: float, whole: Any) -> tuple[str, str]:
    """End the command after a while and repeat it; the verdict, and why."""
    folder = _fresh(victim, work)
    process = _process(victim, folder)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    for file in (folder / RUNS).rglob("*.json"):
        try:
            json.loads(file.read_bytes())
        except ValueError:
            return "lost", f"{file.name} is damaged"
    again = _process(victim, folder)
    try:
        _, said = again.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        os.killpg(again.pid, signal.SIGKILL)
        return "hang", "the same command did not end"
    if again.returncode:
        return "lost", f"the same command ended with {again.returncode}: {said.decode()[-300:]}"
    if victim.left(folder) != whole:
        return "lost", f"another end after {after_s:.2f} s"
    return "well", f"killed after {after_s:.2f} s"


def _fresh(victim: Victim, work: Path) -> Path:
    """An empty working folder; for the report, one with results."""
    folder = work / victim.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if victim.name == "report":
        shutil.copytree(work.parent / RUNS, folder / RUNS)
    return folder


def _process(victim: Victim, folder: Path) -> "subprocess.Popen[bytes]":
    """The command as a process of a session of its own."""
    surroundings = {"PYTHONPATH": str(ROOT), "MAML_BENCH_DATA": str(folder / "home"), "TMPDIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, str(DRIVER), *victim.arguments],
        cwd=folder, env=os.environ | surroundings, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def _records(folder: Path) -> Any:
    """All records without what depends on the moment, and the bytes of the weights."""
    found = {}
    for file in sorted((folder / RUNS / "records").rglob("*.json")):
        found[file.name] = _still(json.loads(file.read_bytes()))
    return found, _bytes(folder / RUNS / "weights")


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _still(entry) for key, entry in value.items() if key not in MOVES}
    return [_still(entry) for entry in value] if isinstance(value, list) else value


def _bytes(folder: Path) -> dict[str, str]:
    """The hash of each file."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _stored(folder: Path) -> Any:
    return _bytes(folder / "home")


def _reported(folder: Path) -> Any:
    return _bytes(folder / RUNS / "tables"), sorted(_bytes(folder / RUNS / "figures"))


def _searched(folder: Path) -> Any:
    """All records as `_records`, and the files of the searches."""
    files = sorted((folder / RUNS / "tuning").rglob("*-s[0-9].json"))
    return _records(folder), {file.name: _still(json.loads(file.read_bytes())) for file in files}


SUITE = ("suite", "small", "--preset", "smoke", "--no-report", "--results", RUNS, "--threads", "1")
VICTIMS = (
    Victim("run", (*RUN, "--seeds", "0,1"), _records),
    Victim("data", ("data", "add", "omniglot", "copy"), _stored),
    Victim("report", ("report", "--results", RUNS), _reported),
    Victim(
        "suite", ("suite", "small", "--preset", "smoke", "--no-report", "--results", RUNS, "--threads", "1"), _records
    ),
    Victim("tune", ("tune", *RUN[1:], "--set", "inner.rate=0.001..0.1:log", "--trials", "3"), _searched),
)
