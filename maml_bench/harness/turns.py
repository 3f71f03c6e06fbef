"""Processes that take turns on one machine: each of them runs for a while, and meanwhile the others are stopped.

A machine whose speed changes from minute to minute changes it for all of them alike. A pause falls into one step in
every turn, which a percentile over steps does not see.
"""

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

TURN_S = 1.0
"""Seconds that each process runs while the others are stopped. A turn should hold ten steps or more."""


@dataclass(frozen=True)
class Command:
    """A command line with its whole environment."""

    line: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, below 0 for a signal, and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def failure(self) -> str:
        """Why it ended without success, by the last line of its standard error; empty for a success."""
        if self.status < 0:
            return f"ended by signal {-self.status}"
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return (lines[-1] if lines else f"exit status {self.status}") if self.status else ""


def take_turns(commands: Sequence[Command], turn_s: float = TURN_S) -> list[Ended]:
    """Run all commands to their ends, ``turn_s`` seconds of one after the same of the others, with their children."""
    with contextlib.ExitStack() as stack:
        # Files, because a process that fills a pipe would wait for a reader.
        outputs = [
            [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")) for _ in range(2)]
            for _ in commands
        ]
        processes = []
        for command, (out, err) in zip(commands, outputs, strict=True):
            processes.append(psutil.Popen(command.line, env=dict(command.environment), stdout=out, stderr=err))
            stack.callback(_each, processes[-1], "kill")
            _each(processes[-1], "suspend")
        while running := [process for process in processes if process.poll() is None]:
            for process in running:
                _each(process, "resume")
                try:
                    process.wait(turn_s)
                except psutil.TimeoutExpired:
                    _each(process, "suspend")
        for stream in (stream for pair in outputs for stream in pair):
            stream.seek(0)
        return [Ended(p.returncode, out.read(), err.read()) for p, (out, err) in zip(processes, outputs, strict=True)]


def _each(process: psutil.Popen, action: str) -> None:
    """``suspend``, ``resume`` or ``kill`` a process and its children, as far as they have not ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(one, action)()
    if action == "kill":
        process.wait()
