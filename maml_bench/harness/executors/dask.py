"""Runs on the workers of a Dask cluster: one of this machine, or any whose scheduler has an address.

Dask itself begins a run again whose worker died. What a worker has to tell goes through the scheduler as events.
"""

import logging
import queue
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_doc import Doc

from maml_bench.errors import MamlBenchError
from maml_bench.harness.build import CORES
from maml_bench.harness.clock import monotonic_s
from maml_bench.harness.executors.job import Ended, Job, extra, lost, next_try, work
from maml_bench.harness.executors.processes import LOOK_S, Checkpoints, Retries
from maml_bench.harness.executors.worker import Telling
from maml_bench.harness.run import CHECKPOINT_EVERY_S, Outcome
from maml_bench.harness.run_state import Observer

ANSWER_S = 10
"""Seconds in which a scheduler must answer."""
ASK_EVERY_S = 1.0
"""Seconds between two questions of a worker to the scheduler whether to stop."""


@dataclass(frozen=True)
class Dask:
    """A cluster of Dask; see `job.Executor`. Without a scheduler, it is one of this machine with --jobs workers."""

    scheduler: Annotated[
        str,
        Doc(
            "The address of a scheduler, such as `tcp://node1:8786`. Without one, a cluster of `--jobs` workers is "
            "started on this machine (default: one for each core)."
        ),
    ] = ""
    retries: Annotated[
        Retries,
        Doc(
            "How often a run is begun again after its worker was killed. It is for the cluster of this machine; a "
            "scheduler of yours has `distributed.scheduler.allowed-failures` for it."
        ),
    ] = 2
    checkpoint_s: Checkpoints = CHECKPOINT_EVERY_S

    def __post_init__(self) -> None:
        if self.scheduler and self.retries != type(self).retries:
            raise MamlBenchError(
                "executor 'dask': retries has no effect on a scheduler of yours: start it with "
                "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES set"
            )

    def run(
        self,
        jobs: Sequence[Job],
        watch: Callable[[Job], Observer],
        interrupted: Callable[[], bool],
        *,
        at_once: int | None = None,
        budget_s: float | None = None,
    ) -> Iterator[Ended]:
        """As `job.Executor.run`; ``at_once`` is the number of workers, or of jobs that the scheduler has at a time.

        Raises:
            MamlBenchError: Dask is not installed, the scheduler does not answer, or there is a ``budget_s``.
        """
        if budget_s is not None:
            raise MamlBenchError("--budget of a suite is for processes of this machine: --executor dask has none")
        distributed = extra("distributed", "dask")
        if not jobs:
            return
        messages: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()
        topic = f"maml-bench-{uuid.uuid4().hex}"
        with ExitStack() as stack:
            client = self._client(distributed, at_once, stack)
            stop = distributed.Event(topic, client=client)
            client.subscribe_topic(topic, lambda event: messages.put(event[1]))
            following = enumerate(jobs)
            running: dict[int, Any] = {}
            begun: dict[int, tuple[Observer, int]] = {}
            stopping = False
            while True:
                if interrupted() and not stopping:
                    stopping = True
                    stop.set()
                while not stopping and len(running) < (at_once or len(jobs)) and (one := next(following, None)):
                    number, job = one
                    sent = job.portable(self.checkpoint_s, machines=True)
                    running[number] = client.submit(_work, number, sent, topic, key=f"{topic}-{number}", pure=False)
                    running[number].add_done_callback(
                        lambda future, number=number: messages.put((number, "finished", future))
                    )
                if not running:
                    return
                try:
                    number, what, content = messages.get(timeout=LOOK_S)
                except queue.Empty:
                    continue
                if what == "begun":
                    observer, tries = begun.get(number) or (watch(jobs[number]), 0)
                    if tries:
                        observer.said(next_try("its Dask worker died", tries, self.retries))
                    begun[number] = observer, tries + 1
                elif what == "finished":
                    del running[number]
                    yield _ended(distributed, jobs[number], content, begun.get(number, (None, 1))[1])
                elif number in running:
                    getattr(begun[number][0], what)(*content)

    def _client(self, distributed: Any, at_once: int | None, stack: ExitStack) -> Any:
        """A client of the scheduler, or of a cluster that is started here and ends with the ``stack``."""
        if self.scheduler:
            try:
                return stack.enter_context(distributed.Client(self.scheduler, timeout=ANSWER_S))
            except (OSError, ValueError) as error:
                raise MamlBenchError(f"no Dask scheduler answers at {self.scheduler!r}: {error}") from error
        workers = at_once or CORES
        threads = str(max(1, CORES // workers))
        dask = extra("dask", "dask")
        stack.enter_context(
            dask.config.set(
                {
                    "distributed.scheduler.allowed-failures": self.retries,
                    "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
                }
            )
        )
        cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
        )
        return stack.enter_context(distributed.Client(stack.enter_context(cluster)))


def _ended(distributed: Any, job: Job, future: Any, tries: int) -> Ended:
    """How a job ended, from its future.

    Raises:
        Exception: the program is at fault; it was raised on the worker.
    """
    if future.status == "finished":
        return Ended.of(job, future.result())
    error = future.exception() if future.status == "error" else None
    if error is not None and not isinstance(error, distributed.KilledWorker):
        raise error
    return lost(job, "its Dask worker died" if error else "its Dask scheduler is gone", tries)


def _work(number: int, job: Job, topic: str) -> Outcome | MamlBenchError:
    """Make a run on a worker of Dask."""
    distributed = extra("distributed", "dask")
    worker = distributed.get_worker()
    stop, asked_s, stopping = distributed.Event(topic), 0.0, False
    before = distributed.Event(f"{topic}-{number}")  # is set when the job is begun for the first time
    again = before.is_set()
    before.set()

    def give(what: str, content: tuple[Any, ...] = ()) -> None:
        worker.log_event(topic, (number, what, content))

    def interrupted() -> bool:
        nonlocal asked_s, stopping
        if not stopping and monotonic_s() - asked_s > ASK_EVERY_S:
            stopping, asked_s = stop.is_set(), monotonic_s()
        return stopping

    give("begun")
    return work(job, Telling(give), interrupted, again=again)
