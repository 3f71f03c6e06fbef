"""What `run` and `suite` share where they make runs: the options that say where, and what is said as each run ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maml_bench.cli.exit_codes import ExitCode, of_records
from maml_bench.cli.progress import Bars, in_a_line, interruptible
from maml_bench.cli.terminal import say
from maml_bench.errors import CannotWrite, MamlBenchError

if TYPE_CHECKING:
    from maml_bench.harness.executors.job import Job
    from maml_bench.harness.executors.where import Where
    from maml_bench.record import Record

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=1024,
        metavar="N",
        help="Make N runs at a time, each in a process of its own. The cores are divided among the processes unless "
        "--threads says otherwise. Default: one. With --executor: the number of workers of Dask, or the largest number "
        "of jobs of Slurm that run at a time.",
    ),
]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="Where runs are made: [cyan]processes[/cyan] of this machine, workers of [cyan]dask[/cyan], or jobs of "
        "[cyan]slurm[/cyan]. All workers need the same results folder.",
    ),
]
ExecutorOptions = Annotated[
    Path | None,
    typer.Option("--executor-options", metavar="FILE.toml", help="Options of the executor, one key a line."),
]
ExecutorSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--executor-set",
        metavar="KEY=VALUE",
        help="An option of the executor, such as retries=5, time=60 or scheduler=tcp://node1:8786; repeat for several. "
        "It is laid over --executor-options.",
    ),
]


@dataclass
class Finished:
    """What a command has made so far: records with their paths, and the runs without one with the reasons."""

    records: "list[tuple[Path, Record]]" = field(default_factory=list)
    failures: "list[tuple[Job, MamlBenchError]]" = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """What the command ends with."""
        if any(isinstance(error, CannotWrite) for _, error in self.failures):
            return ExitCode.NOT_WRITTEN
        return ExitCode.BAD if self.failures else of_records(record for _, record in self.records)

    def tell_failures(self) -> None:
        """List what has no record or a record of a failure, each with its reason."""
        failed = [(job.title, str(error)) for job, error in self.failures]
        failed += [
            (f"{record.recipe['id']} {record.recipe['setup']['name']} seed {record.seed}", str(record.reason))
            for _, record in self.records
            if record.status == "failed"
        ]
        if failed:
            say(f"{len(failed)} run{'s' * (len(failed) > 1)} failed:")
        for title, reason in failed:
            say(f"  {title}: {reason}")


def make(
    where: "Where",
    jobs: "Sequence[Job]",
    *,
    announce: "Callable[[Job], str]" = lambda job: "",
    tell_there: bool = True,
    stop_at_error: bool = False,
    again: str = "the same command",
    budget_s: float | None = None,
) -> Finished:
    """Make the runs, say how each one ends, and return what came of them.

    ``announce`` gives the sentence that is said when a job starts, which may be empty. ``tell_there`` says whether runs
    that were there already are told of and returned, ``stop_at_error`` whether an error of the user's ends the command.

    Raises:
        MamlBenchError: with ``stop_at_error``, or nothing can be written.
        typer.Exit: the command was interrupted.
    """
    finished = Finished()
    bars_of: dict[int, Bars] = {}
    stopped = False
    with interruptible() as interrupted, Bars() as bars:

        def watch(job: "Job") -> Bars:
            if sentence := announce(job):
                bars.said(sentence)
            bars_of[id(job)] = bars.beside(job.title) if where.several else bars
            return bars_of[id(job)]

        for ended in where.run(jobs, watch, interrupted, budget_s):
            job, outcome, error = ended.job, ended.outcome, ended.error
            if id(job) in bars_of:
                bars_of[id(job)].done()
            if error is not None:
                if stop_at_error or (isinstance(error, CannotWrite) and not where.several):
                    raise error
                finished.failures.append((job, error))
                bars.said(f"{job.title}: {error}")
            if outcome is None:
                continue
            if outcome.record is None or outcome.path is None:
                stopped = True
                what = f"{job.title}: " if where.several else ""
                bars.said(f"{what}stopped at step {outcome.step:,}; {again} continues from there")
            elif tell_there or outcome.how != "already there":
                finished.records.append((outcome.path, outcome.record))
                bars.said(in_a_line(job.recipe, job.seed, outcome.how, outcome.record, outcome.path))
        if stopped or interrupted():
            if where.several:
                finished.tell_failures()
            raise typer.Exit(ExitCode.INTERRUPTED)
    return finished
