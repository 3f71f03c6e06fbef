"""A worker of `processes`: it takes jobs from its standard input, and says on its standard output how they go.

Both are streams of pickles between a process and its parent. None asks it to stop at a checkpoint, and so does the end
of the stream, which comes when the parent dies.
"""

import os
import pickle
import queue
import signal
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from typing import Any, BinaryIO

from maml_bench.errors import Notice
from maml_bench.harness.clock import monotonic_s
from maml_bench.harness.executors.job import Job, work

TELL_EVERY_S = 0.25
"""Seconds between two steps that an observer elsewhere is told of."""


class Telling:
    """An observer that tells another one somewhere else, by ``give(method, arguments)``."""

    def __init__(self, give: Any) -> None:
        self._give = give
        self._told_s = 0.0

    def started(self, title: str, step: int, steps: int) -> None:
        self._give("started", (title, step, steps))

    def stepped(self, step: int, loss: float) -> None:
        now_s = monotonic_s()
        if now_s - self._told_s > TELL_EVERY_S:
            self._give("stepped", (step, loss))
            self._told_s = now_s

    def validated(self, step: int, mean: float) -> None:
        self._give("validated", (step, mean))

    def tested(self, tasks: int, of: int) -> None:
        self._give("tested", (tasks, of))

    def said(self, sentence: str) -> None:
        self._give("said", (sentence,))


def main() -> None:
    """Make the runs that the parent asks for, until it asks to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes to standard error
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    stop = threading.Event()
    jobs: queue.SimpleQueue[tuple[Job, bool] | None] = queue.SimpleQueue()

    def give(what: str, content: object) -> None:
        with suppress(OSError):  # the parent is gone, and `_take` hears it
            pickle.dump((what, content), told)
            told.flush()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, Notice):
            give("said", (f"warning: {message}",))
        else:
            usual(message, category, *place, **more)

    usual, warnings.showwarning = warnings.showwarning, show
    threading.Thread(target=_take, args=(asked, jobs, stop), daemon=True).start()
    while (one := jobs.get()) is not None:
        job, again = one
        try:
            give("ended", work(job, Telling(give), stop.is_set, again=again))
        except Exception as error:
            give("fault", RuntimeError(f"{job.title}: {error}\n{traceback.format_exc()}"))
            sys.exit(1)


def _take(stream: BinaryIO, jobs: "queue.SimpleQueue[tuple[Job, bool] | None]", stop: threading.Event) -> None:
    """Put what the parent sends into ``jobs``."""
    one: tuple[Job, bool] | None
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while (one := pickle.load(stream)) is not None:
            jobs.put(one)
    stop.set()
    jobs.put(None)


if __name__ == "__main__":
    main()
