"""Runs as jobs of Slurm, submitted as arrays by submitit.

A job that reaches its time limit or is preempted stops at a checkpoint and is put into the queue again. What a job came
to is a file in the results folder. States come from ``squeue``, which needs no accounting database.
"""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_doc import Doc
from annotated_types import Ge, Le, MaxLen

from maml_bench.errors import MamlBenchError
from maml_bench.harness.clock import monotonic_s, pause
from maml_bench.harness.executors.job import Ended, Job, extra, lost, next_try, work
from maml_bench.harness.executors.processes import LOOK_S, Checkpoints, Retries
from maml_bench.harness.run import CHECKPOINT_EVERY_S, Outcome
from maml_bench.harness.run_state import Observer, Silent

LARGEST_ARRAY = 1000
"""Jobs in one array at most. Slurm allows 1,001 unless it is told otherwise."""
ASK_EVERY_S = 5.0
"""Seconds between two questions to Slurm."""
PATIENCE_S = 10.0
"""Seconds in which the file of a job that has left the queue may still arrive through the shared folder."""
_CORES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "SRUN_CPUS_PER_TASK")
"""Variables that say how many cores a run has; srun does not take that from sbatch."""
LEFT = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip
"""The states of jobs that Slurm has ended."""


@dataclass(frozen=True)
class Slurm:
    """Jobs of Slurm; see `job.Executor`. ``--jobs`` is the largest number that runs at a time."""

    time: Annotated[
        int,
        Ge(1),
        Le(525_600),
        Doc("The time limit of a job in minutes. A run that needs longer is put into the queue again."),
    ] = 60
    partition: Annotated[str, Doc("The partition; empty for the default one.")] = ""
    account: Annotated[str, Doc("The account that is charged.")] = ""
    qos: Annotated[str, Doc("The quality of service.")] = ""
    constraint: Annotated[
        str, Doc("Features of the nodes. A run goes on from its checkpoint only on the same kind of node.")
    ] = ""
    cpus: Annotated[int, Ge(1), Le(4096), Doc("Cores of a job; `--threads` asks for as many at least.")] = 1
    memory_gb: Annotated[float, Ge(0), Le(100_000), Doc("Memory of a job in GB; 0 for the default of the cluster.")] = 0
    gpus: Annotated[int, Ge(0), Le(64), Doc("GPUs of a job.")] = 0
    warning_s: Annotated[
        int,
        Ge(1),
        Le(3600),
        Doc("How many seconds before the time limit a job is told to stop at a checkpoint."),
    ] = 90
    requeues: Annotated[
        int, Ge(0), Le(10_000), Doc("How often a run is put into the queue again at its time limit.")
    ] = 100
    retries: Retries = 2
    checkpoint_s: Checkpoints = CHECKPOINT_EVERY_S
    setup: Annotated[
        tuple[str, ...], MaxLen(100), Doc("Lines of a shell before the run, such as `module load cuda`.")
    ] = ()
    sbatch: Annotated[
        dict[str, str | int | bool], Doc("Further options of `sbatch`, such as `sbatch.exclude=node7`.")
    ] = field(default_factory=dict)

    def run(
        self,
        jobs: Sequence[Job],
        watch: Callable[[Job], Observer],
        interrupted: Callable[[], bool],
        *,
        at_once: int | None = None,
        budget_s: float | None = None,
    ) -> Iterator[Ended]:
        """As `job.Executor.run`. When interrupted, the jobs in the queue are cancelled.

        Raises:
            MamlBenchError: submitit or Slurm is not there, Slurm refuses the jobs, or there is a ``budget_s``.
        """
        if budget_s is not None:
            raise MamlBenchError("--budget of a suite is for processes of this machine: --executor slurm has none")
        submitit = extra("submitit", "slurm")
        if not jobs:
            return
        observers = [watch(job) for job in jobs]
        waiting: dict[Any, int] = {}
        tries: Counter[int] = Counter()
        states: dict[str, str] = {}
        gone_s: dict[Any, float] = {}
        stopped: dict[Any, Outcome] = {}
        stopping, asked_s = False, 0.0

        def submit(numbers: Sequence[int]) -> None:
            sent = [jobs[n].portable(self.checkpoint_s, machines=True) for n in numbers]
            handles = self._submitted(submitit, sent, at_once, [tries[n] > 0 for n in numbers])
            waiting.update(zip(handles, numbers, strict=True))

        try:
            submit(range(len(jobs)))
            while waiting:
                if interrupted() and not stopping:
                    stopping = True
                    _cancel(waiting)
                if monotonic_s() - asked_s > ASK_EVERY_S:
                    asked_s, before = monotonic_s(), states
                    found_states = _states(waiting)
                    states = before if found_states is None else found_states
                    for handle, number in waiting.items():
                        state = states.get(handle.job_id, "")
                        if state and state not in LEFT and state != before.get(handle.job_id):
                            observers[number].said(f"job {handle.job_id} of Slurm is {state.lower()}")
                for handle, number in list(waiting.items()):
                    job = jobs[number]
                    if handle.paths.result_pickle.exists():
                        found = _result(handle)
                        if isinstance(found, MamlBenchError) or found.how != "interrupted" or stopping:
                            del waiting[handle]
                            yield Ended.of(job, found)
                        else:  # Slurm has preempted it and begins it again, or somebody has cancelled it
                            stopped[handle] = found
                            handle.paths.result_pickle.unlink()
                    elif asked_s and states.get(handle.job_id, "") in {"", *LEFT}:
                        gone_s.setdefault(handle, monotonic_s())
                    else:
                        gone_s.pop(handle, None)
                    if monotonic_s() - gone_s.get(handle, monotonic_s()) > PATIENCE_S and handle in waiting:
                        del waiting[handle]
                        tries[number] += 1
                        how = f"job {handle.job_id} of Slurm, {states.get(handle.job_id, 'unknown').lower()}"
                        if stopping or states.get(handle.job_id) == "CANCELLED":
                            yield Ended(job, stopped.get(handle, Outcome("interrupted", 0)))
                        elif tries[number] > self.retries:
                            yield lost(job, how, tries[number])
                        else:
                            observers[number].said(next_try(how, tries[number], self.retries))
                            submit([number])
                pause(LOOK_S)
        finally:
            _cancel(waiting)

    def _submitted(self, submitit: Any, jobs: Sequence[Job], at_once: int | None, again: Sequence[bool]) -> list[Any]:
        """Submit the jobs as arrays, and return submitit's handles of them."""
        folder = jobs[0].options.results / "slurm"
        cpus = max(self.cpus, jobs[0].options.threads or 1)
        parameters = {
            "job_name": "maml-bench",
            "time": self.time,
            "cpus_per_task": cpus,
            "signal_delay_s": self.warning_s,
            "array_parallelism": at_once or LARGEST_ARRAY,
            "setup": [*self.setup, f"export {' '.join(f'{name}={cpus}' for name in _CORES)}"],
            "additional_parameters": {"requeue": True, **self.sbatch},
        }
        named = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "mem": f"{self.memory_gb * 1024:.0f}MB" if self.memory_gb else "",
            "gpus_per_node": str(self.gpus or ""),
        }
        handles: list[Any] = []
        try:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=self.requeues)
            executor.update_parameters(**parameters, **{key: value for key, value in named.items() if value})
            for first in range(0, len(jobs), LARGEST_ARRAY):
                part = slice(first, first + LARGEST_ARRAY)
                handles += executor.map_array(Work(), jobs[part], again[part])
        except (RuntimeError, ValueError, OSError, submitit.core.utils.FailedJobError) as error:
            _cancel(handles)
            reason = (str(error).strip().splitlines() or [""])[-1]
            raise MamlBenchError(f"Slurm takes no jobs here: {reason}") from error
        return handles


class Work:
    """What a job of Slurm does. submitit asks it for the `checkpoint` with which the job goes on after a requeue."""

    def __call__(self, job: Job, again: bool) -> Outcome | MamlBenchError:
        """Make the run. A warning stops it at a checkpoint and puts the job into the queue again; SIGTERM, with which
        Slurm cancels and preempts jobs, stops it at a checkpoint."""
        requeue: Any = signal.getsignal(signal.SIGUSR2)
        came: list[tuple[int, Any]] = []
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, lambda number, frame: came.append((number, frame)))
        begun = again or os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        outcome = work(job, Silent(), lambda: bool(came), again=begun)
        warned = next((one for one in came if one[0] == signal.SIGUSR2), None)
        if warned and isinstance(outcome, Outcome) and outcome.how == "interrupted":
            try:
                requeue(*warned)
            except extra("submitit", "slurm").core.utils.UncompletedJobError as error:
                return MamlBenchError(f"it stopped at step {outcome.step:,} with a checkpoint: {error}")
        return outcome

    def checkpoint(self, job: Job, again: bool) -> Any:
        """The same job. Its run goes on from the checkpoint in the results folder."""
        return extra("submitit", "slurm").helpers.DelayedSubmission(self, job, True)


def _result(handle: Any) -> Outcome | MamlBenchError:
    """What a job returned.

    Raises:
        RuntimeError: the program is at fault; it was raised in the job.
    """
    try:
        found: Outcome | MamlBenchError = handle.result()
    except Exception as error:  # submitit's, which holds the trace of the job
        raise RuntimeError(f"job {handle.job_id} of Slurm: {error}") from error
    return found


def _states(handles: Any) -> dict[str, str] | None:
    """The states of jobs that Slurm knows, by their ids; None where it does not answer."""
    arrays = {handle.job_id.split("_")[0] for handle in handles}
    asked = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %A %T", f"--jobs={','.join(arrays)}"]
    with suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        if answer.returncode == 0 or "Invalid job id" in answer.stderr:  # of jobs that ended some minutes ago
            return {number: line.split()[2] for line in answer.stdout.splitlines() for number in line.split()[:2]}
    return None


def _cancel(handles: Any) -> None:
    """Take jobs out of the queue. Those that run get SIGTERM first."""
    numbers = [handle.job_id for handle in handles]
    if numbers:
        with suppress(OSError):
            subprocess.run(["scancel", *numbers], capture_output=True, check=False)
