"""One adapter as one process: its command line, its surroundings, its answer; and several that take turns."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maml_bench.harness.memory import CHOICE, SETTINGS

from .catalogue import Peer

FOLDER = Path(__file__).parent
LIMIT_S = 1800
TURN_S = 1.0
"""Seconds that each of several processes runs while the others are stopped."""
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
    """As `Job.time` for several jobs in one stretch of time: each runs for ``TURN_S`` while the others are stopped.

    A machine whose speed changes from minute to minute changes it for all of them alike. A pause falls into one step in
    every turn, which the median over steps does not see.
    """
    processes = [
        subprocess.Popen(
            job.command("--seconds", str(seconds * len(jobs))),
            env=job.surroundings(memory), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for job in jobs
    ]  # fmt: skip
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        while running := [process for process in processes if process.poll() is None]:
            for process in running:
                process.send_signal(signal.SIGCONT)
                try:
                    process.wait(TURN_S)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGSTOP)
        return [_answer_or_failed(process) for process in processes]
    finally:
        for process in processes:
            process.kill()


def _answer_or_failed(process: "subprocess.Popen[str]") -> dict[str, Any] | Failed:
    stdout, stderr = process.communicate()
    try:
        return _read(process.returncode, stdout, stderr)
    except Failed as reason:
        return reason


def _answer(command: list[str], surroundings: dict[str, str]) -> dict[str, Any]:
    try:
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer within {LIMIT_S} s") from None
    return _read(done.returncode, done.stdout, done.stderr)


def _read(status: int, stdout: str, stderr: str) -> dict[str, Any]:
    if status < 0:
        raise Failed(f"ended by signal {-status}")
    if status:
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        raise Failed(lines[-1] if lines else f"exit status {status}")
    answer: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return answer
