"""Runs in processes of this machine. One process is this one; several are workers that take one job after the other."""

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_doc import Doc
from annotated_types import Ge, Le

import maml_bench
from maml_bench.errors import MamlBenchError
from maml_bench.harness import memory
from maml_bench.harness.build import CORES
from maml_bench.harness.executors.job import Ended, Job, lost, next_try
from maml_bench.harness.run import CHECKPOINT_EVERY_S, run
from maml_bench.harness.run_state import Observer, Silent

LOOK_S = 0.2
"""Seconds between two looks at whether Ctrl-C was pressed."""
Retries = Annotated[int, Ge(0), Le(100), Doc("How often a run is begun again after its worker was killed.")]
Checkpoints = Annotated[
    float, Ge(0), Le(86_400), Doc("Seconds between two checkpoints of a run. A run that is killed loses at most these.")
]
_ROOT = str(Path(maml_bench.__file__).parents[1])
Messages = queue.SimpleQueue[tuple["_Worker", str, Any]]


@dataclass(frozen=True)
class Processes:
    """Processes of this machine, among which its cores are divided; see `job.Executor`."""

    retries: Retries = 2
    checkpoint_s: Checkpoints = CHECKPOINT_EVERY_S

    def run(
        self,
        jobs: Sequence[Job],
        watch: Callable[[Job], Observer],
        interrupted: Callable[[], bool],
        *,
        at_once: int | None = None,
        budget_s: float | None = None,
    ) -> Iterator[Ended]:
        """As `job.Executor.run`, in ``at_once`` processes; None means one, which is this one.

        ``budget_s`` is the training time of each process in seconds. No process starts a job when it is over.
        """
        if at_once in (None, 1):
            return here(jobs, watch, interrupted, budget_s)
        return self._side_by_side(jobs, watch, interrupted, at_once or 1, budget_s)

    def _side_by_side(
        self,
        jobs: Sequence[Job],
        watch: Callable[[Job], Observer],
        interrupted: Callable[[], bool],
        count: int,
        budget_s: float | None,
    ) -> Iterator[Ended]:
        messages: Messages = queue.SimpleQueue()
        waiting, tries = deque(jobs), Counter[int]()
        threads = max(1, CORES // count)
        with ExitStack() as stack:
            workers = [_Worker(messages, threads, stack, _Budget(budget_s)) for _ in range(min(count, len(jobs)))]
            while True:
                stopping = interrupted()
                for worker in workers:
                    if worker.job is not None and stopping:
                        worker.stop()
                    elif worker.job is None and waiting and not stopping and not worker.budget.over:
                        job = waiting.popleft()
                        worker.start(job, job.portable(self.checkpoint_s), watch(job), again=tries[id(job)] > 0)
                if all(worker.job is None for worker in workers):
                    return
                try:
                    worker, what, content = messages.get(timeout=LOOK_S)
                except queue.Empty:
                    continue
                if worker.job is None:
                    continue
                if what == "gone":
                    job = worker.job
                    tries[id(job)] += 1
                    workers[workers.index(worker)] = _Worker(messages, threads, stack, worker.budget)
                    if tries[id(job)] > self.retries or stopping:
                        yield lost(job, worker.end(), tries[id(job)])
                    else:
                        worker.observer.said(next_try(worker.end(), tries[id(job)], self.retries))
                        waiting.appendleft(job)
                elif what == "ended":
                    ended, worker.job = Ended.of(worker.job, content), None
                    worker.budget.spend(ended)
                    yield ended
                elif what == "fault":
                    raise content
                else:
                    getattr(worker.observer, what)(*content)


def here(
    jobs: Sequence[Job], watch: Callable[[Job], Observer], interrupted: Callable[[], bool], budget_s: float | None
) -> Iterator[Ended]:
    """Make one run after the other in this process; see `Processes.run`."""
    budget = _Budget(budget_s)
    for job in jobs:
        if budget.over or interrupted():
            return
        observer = watch(job)
        memory.release()
        try:
            outcome = run(job.recipe, job.seed, budget.of(job).options, observer=observer, interrupted=interrupted)
        except MamlBenchError as error:
            yield Ended(job, error=error)
            continue
        ended = Ended(job, outcome)
        budget.spend(ended)
        yield ended


class _Budget:
    """The training time that is left to one process, in seconds; None means without end."""

    def __init__(self, left_s: float | None) -> None:
        self._left_s = left_s

    @property
    def over(self) -> bool:
        return self._left_s is not None and self._left_s <= 0

    def of(self, job: Job) -> Job:
        """The job with what is left as its budget."""
        return job if self._left_s is None else replace(job, options=replace(job.options, budget_s=self._left_s))

    def spend(self, ended: Ended) -> None:
        """Take what the job has spent. A record of a part says that no further step fitted."""
        record = ended.outcome.record if ended.outcome is not None else None
        if self._left_s is not None and record is not None:
            self._left_s -= max(record.train_s - ended.job.trained_s, 0.0)
            if record.status == "ok" and not record.whole:
                self._left_s = 0.0


class _Worker:
    """A process that makes runs, see `worker`. A thread here hears what it says and puts it among the ``messages``."""

    def __init__(self, messages: Messages, threads: int, stack: ExitStack, budget: _Budget) -> None:
        self.job: Job | None = None
        self.observer: Observer = Silent()
        self.budget = budget
        self._stopped = False
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
        line = [sys.executable, "-P", "-m", "maml_bench.harness.executors.worker"]  # no module of the working folder
        # A session of its own: Ctrl-C at the terminal reaches only the process that decides.
        self._process = subprocess.Popen(
            line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        stack.callback(self._close)
        self._hearing = threading.Thread(target=self._hear, args=(messages,), daemon=True)
        self._hearing.start()

    def start(self, job: Job, sent: Job, observer: Observer, *, again: bool) -> None:
        """Give the process a job. ``observer`` will be told of it."""
        self.job, self.observer = job, observer
        self._send((self.budget.of(sent), again))

    def stop(self) -> None:
        """Ask the process to end its run at a checkpoint."""
        if not self._stopped:
            self._stopped = True
            self._send(None)

    def end(self) -> str:
        """How the process ended, in words."""
        status = self._process.wait()
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    def _send(self, what: object) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it is gone, which the thread tells
            pickle.dump(what, self._process.stdin)
            self._process.stdin.flush()

    def _hear(self, messages: Messages) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said, suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                messages.put((self, *pickle.load(said)))
        messages.put((self, "gone", None))

    def _close(self) -> None:
        """Kill the process if it has a job, and let it end if it has none."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        if self.job is not None:
            self._process.kill()
        self._process.wait()
        self._hearing.join()
