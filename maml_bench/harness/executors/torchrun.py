"""One run after the other, each of them made by all processes that torchrun started.

The first process calls `Torchrun.run`, as any executor is called. The others are in `follow`.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from maml_bench.errors import MamlBenchError
from maml_bench.harness import memory
from maml_bench.harness.build import build, threads_for
from maml_bench.harness.executors.job import Ended, Job
from maml_bench.harness.record_of_run import conditions_of, resume
from maml_bench.harness.run import CHECKPOINT_EVERY_S, run
from maml_bench.harness.run_state import Observer, Silent
from maml_bench.harness.team import Team
from maml_bench.harness.together import alike, refuse_indivisible, train
from maml_bench.own_faults import explained, in_short


@dataclass(frozen=True)
class Torchrun:
    """The first of the processes of ``team``; see `job.Executor`."""

    team: Team

    def run(
        self,
        jobs: Sequence[Job],
        watch: Callable[[Job], Observer],
        interrupted: Callable[[], bool],
        *,
        at_once: int | None = None,
        budget_s: float | None = None,
    ) -> Iterator[Ended]:
        """As `job.Executor.run`, one job at a time.

        Raises:
            MamlBenchError: the tasks of a job cannot be divided among the processes. Then no job has been started.
        """
        for job in jobs:
            refuse_indivisible(job.recipe, self.team.size)
        for job in jobs:
            if interrupted():
                return
            observer = watch(job)
            memory.release()
            try:
                self.team.begin(job.portable(CHECKPOINT_EVERY_S))
                try:
                    outcome = run(
                        job.recipe, job.seed, job.options, observer=observer, interrupted=interrupted, team=self.team
                    )
                finally:
                    self.team.excuse()
            except MamlBenchError as error:
                yield Ended(job, error=error)
                continue
            yield Ended(job, outcome)


def follow(team: Team) -> None:
    """What every process but the first does: take its share of the meta-steps of each job, until there is no other.

    The first process decides what happens at Ctrl-C, so that all of them finish the same step.

    Raises:
        Lost: another process has ended.
        Exception: this process failed outside of a meta-step, which the others do not know.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while (job := team.next_job()) is not None:
        memory.release()
        take_part(job, team)
    team.leave()


def take_part(job: Job, team: Team) -> None:
    """Take part in one run of the first process."""
    options = job.options
    ready: object
    try:
        if job.recipe.recipe_id != job.recipe_id:
            raise MamlBenchError("it has another version of maml-bench: install the same version everywhere")
        device = team.device(options.device)
        training = build(job.recipe, job.seed, device, options.schedule, options.chunk, team)
        threads = options.threads or threads_for(training)
        torch.set_num_threads(threads)
        ready = alike(conditions_of(training, threads))
    except Exception as error:
        ready = str(error) if isinstance(error, MamlBenchError) else explained(error) or in_short(error)
    goes_on, state = team.meet(ready)
    if not goes_on:
        return
    if state is not None:
        resume(training, state)
    try:
        train(training, Silent(), lambda: False, lambda: None)
    except Exception:
        if not team.failed:
            raise
