"""One adapter as one process: its command line, its surroundings, its answer; and several that take turns."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maml_bench.harness.memory import CHOICE, SETTINGS
from maml_bench.harness.turns import Command, Ended, take_turns

from .catalogue import Peer

FOLDER = Path(__file__).parent
LIMIT_S = 1800
MEMORY = ("retained", "default")


class Failed(Exception):
    """A process that ended without an answer; says why in a sentence."""


@dataclass(frozen=True)
class Job:
    """A peer on a bench: ``inputs`` is the bench's file, ``work`` a folder for caches, which a race makes anew."""

    peer: Peer
    python: Path
    bench: str
    inputs: Path
    threads: int
    work: Path

    def command(self, *more: str) -> list[str]:
        """The adapter's command line."""
        line = [str(self.python), str(FOLDER / self.peer.script), "--bench", self.bench, "--inputs", str(self.inputs)]
        line += ["--threads", str(self.threads)]
        return [*line, *(["--schedule", self.peer.schedule] if self.peer.schedule else []), *more]

    def surroundings(self, memory: str) -> dict[str, str]:
        """Environment variables, the same for all peers but for the names of their cache folders.

        Compilers keep what they made in a folder of this peer and memory: the first round pays, later ones start at
        once.
        """
        caches = self.work / f"{self.peer.name}-{memory}"
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.threads))
        left_out = set(SETTINGS) | ({"PYTHONPATH", "PYTHONHOME"} if self.python != Path(sys.executable) else set())
        return {
            **{name: value for name, value in os.environ.items() if name not in left_out},
            **threads,
            **({} if self.peer.source is None else {"PYTHONPATH": str(self.peer.source)}),
            **(SETTINGS if memory == "retained" else {}),
            CHOICE: memory,
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(caches / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        }

    def time(self, memory: str, seconds: float) -> dict[str, Any]:
        """Race once: seconds of a step and what else the adapter tells.

        Raises:
            Failed: the process gave no answer.
        """
        return _answer(self.command("--seconds", str(seconds)), self.surroundings(memory))

    def gradient(self, out: Path, *, double: bool = False) -> dict[str, Any]:
        """Save the meta-gradient of the first meta-batch in ``out``.

        Raises:
            Failed: the process gave no answer.
        """
        more = ["--gradient-only", "--gradient-out", str(out), *(["--double"] if double else [])]
        return _answer(self.command(*more), self.surroundings("retained"))


def time_in_turns(jobs: Sequence[Job], memory: str, seconds: float) -> list[dict[str, Any] | Failed]:
    """As `Job.time` for several jobs in one stretch of time; see `maml_bench.harness.turns`."""
    commands = [Command(job.command("--seconds", str(seconds * len(jobs))), job.surroundings(memory)) for job in jobs]
    return [_answer_or_failed(ended) for ended in take_turns(commands)]


def _answer_or_failed(ended: Ended) -> dict[str, Any] | Failed:
    try:
        return _read(ended)
    except Failed as reason:
        return reason


def _answer(command: list[str], surroundings: dict[str, str]) -> dict[str, Any]:
    try:
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer within {LIMIT_S} s") from None
    return _read(Ended(done.returncode, done.stdout, done.stderr))


def _read(ended: Ended) -> dict[str, Any]:
    if ended.failure:
        raise Failed(ended.failure)
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer
