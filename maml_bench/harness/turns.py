"""Processes that take turns on one machine: each of them runs for a while, and meanwhile the others are stopped.

A machine whose speed changes from minute to minute changes it for all of them alike. A pause falls into one step in
every turn, which a percentile over steps does not see.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
    """Run all commands to their ends, ``turn_s`` seconds of one after the same of the others, with their children.

    Each of them gets a process group of its own (POSIX), so that one signal reaches it and all its children. A child
    that leaves the group is not stopped.
    """
    with contextlib.ExitStack() as stack:
        # Files, because a process that fills a pipe would wait for a reader.
        outputs = [
            [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")) for _ in range(2)]
            for _ in commands
        ]
        processes = []
        for command, (out, err) in zip(commands, outputs, strict=True):
            with _interruptions_wait():  # one between the start and the callback would leave the process behind
                environment = dict(command.environment)
                process = subprocess.Popen(
                    command.line, env=environment, stdout=out, stderr=err, start_new_session=True
                )
                stack.callback(_end, process)
            processes.append(process)
            _send(process, signal.SIGSTOP)
        while running := [process for process in processes if process.poll() is None]:
            for process in running:
                _send(process, signal.SIGCONT)
                try:
                    process.wait(turn_s)
                except subprocess.TimeoutExpired:
                    _send(process, signal.SIGSTOP)
        for stream in (stream for pair in outputs for stream in pair):
            stream.seek(0)
        return [Ended(p.returncode, out.read(), err.read()) for p, (out, err) in zip(processes, outputs, strict=True)]


def _send(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a process and its children, as far as they have not ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children."""
    _send(process, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _interruptions_wait() -> Iterator[None]:
    """Deliver a Ctrl-C that comes inside the block after its end. Python delivers them to the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)
