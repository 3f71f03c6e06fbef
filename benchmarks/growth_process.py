"""A process under watch: killed where it holds too much memory or takes too long, and an answer in either case."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import psutil

START_S = 300.0
"""Patience with imports, compilers and a first step."""
STEPS = 10
"""More steps than an adapter does where a step takes longer than its sampling."""
NEAR = 0.8
"""A process that dies by a signal while it holds this share of the ceiling has died of it."""
POLL_S = 0.05
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "memoryerror",
    "out of memory",
    "cannot allocate",
)


@dataclass(frozen=True)
class Watched:
    """``limit`` bytes for the process and its children together, ``seconds`` for a step."""

    limit: int
    seconds: float
    start_s: float = START_S

    @property
    def patience_s(self) -> float:
        return self.start_s + STEPS * self.seconds


def run(command: Sequence[str], surroundings: Mapping[str, str], watched: Watched) -> dict[str, Any]:
    """The JSON that ``command`` prints last, with a ``status`` of ok, or a status and a reason.

    ``surroundings`` are its environment variables.

    Raises:
        KeyboardInterrupt: the user interrupted; the process is gone by then.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=surroundings, start_new_session=True)
        try:
            verdict, held = _watch(process, watched)
        finally:
            _end(process)
        return verdict or _answer(process.returncode, _text(out), _text(err), held, watched.limit)


def _watch(process: "subprocess.Popen[bytes]", watched: Watched) -> tuple[dict[str, Any] | None, int]:
    """Wait for the process; the verdict that ended it early, and the most memory seen."""
    end, most = time.monotonic() + watched.patience_s, 0
    while process.poll() is None:
        most = max(most, _resident(process.pid))
        if most > watched.limit:
            return _too_much(watched.limit), most
        if time.monotonic() > end:
            return _lost("too slow", f"no answer after {watched.patience_s:.0f} s"), most
        time.sleep(POLL_S)
    return None, most


def _resident(pid: int) -> int:
    """Bytes that the process and its children hold; 0 once it is gone."""
    try:
        parent = psutil.Process(pid)
        return sum(each.memory_info().rss for each in (parent, *parent.children(recursive=True)))
    except psutil.Error:
        return 0


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process with all it started, and wait for it."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _answer(code: int, out: str, err: str, held: int, limit: int) -> dict[str, Any]:
    """What a process that ended by itself had to say."""
    lines = [line for line in err.splitlines() if line.strip()]
    last = lines[-1].strip()[:300] if lines else "it said nothing"
    if code == 0:
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found if found["status"] == "ok" else _lost("failed", f"{found['status']}: {found['reason']}")
    if any(word in err.lower() for word in _NO_MEMORY) or (code < 0 and held > NEAR * limit):
        return _too_much(limit)
    if code == -signal.SIGKILL:
        return _lost("does not fit", "killed by the system")
    return _lost("failed", last if code > 0 else f"ended by signal {-code}: {last}")


def _too_much(limit: int) -> dict[str, Any]:
    return _lost("does not fit", f"more than {limit / 2**30:.1f} GiB")


def _lost(status: str, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason}


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
