"""What all executors share: a run as plain data that travels to a worker, what comes back, and how it is called there.

A job holds the whole recipe, so a worker needs no recipe file. Paths are made absolute. They must mean the same on all
machines, as the results folder does, which is the only thing that workers share.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from maml_bench.errors import MamlBenchError
from maml_bench.harness import checkpoint, machine, memory
from maml_bench.harness.preflight import SHARED_LOCKS, usable_device
from maml_bench.harness.recipe import Recipe
from maml_bench.harness.run import Options, Outcome, run, title_of
from maml_bench.harness.run_state import Observer
from maml_bench.record import relative_path


@dataclass(frozen=True)
class Job:
    """One run that is to be made. ``trained_s`` are the seconds of training that it has behind it."""

    recipe: Recipe
    seed: int
    options: Options
    trained_s: float = 0.0
    recipe_id: str = field(default="", compare=False)
    """What the recipe's id is where the job comes from."""

    @property
    def title(self) -> str:
        """Recipe, setup and seed, for messages."""
        return title_of(self.recipe, self.seed)

    def portable(self, checkpoint_s: float, *, machines: bool = False) -> "Job":
        """The job as it travels: with absolute paths, and with locks in the results folder for several ``machines``."""
        options = self.options
        results = options.results.absolute()
        options = replace(
            options,
            results=results,
            continue_from=options.continue_from and options.continue_from.absolute(),
            checkpoint_s=checkpoint_s,
            locks=results / SHARED_LOCKS if machines else None,
        )
        recipe = self.recipe
        network = None if recipe.network is None else _absolute(recipe.network)
        recipe = replace(recipe, tasks=_absolute(recipe.tasks), setup=_absolute(recipe.setup), network=network)
        return replace(self, recipe=recipe, options=options, recipe_id=self.recipe.recipe_id)


@dataclass(frozen=True)
class Ended:
    """How a job ended: with an outcome, or with the reason why there is none."""

    job: Job
    outcome: Outcome | None = None
    error: MamlBenchError | None = None

    @classmethod
    def of(cls, job: Job, found: Outcome | MamlBenchError) -> "Ended":
        """From what `work` returned. The record's path is below the results folder as the user wrote it."""
        if isinstance(found, MamlBenchError):
            return cls(job, error=found)
        if found.path is not None:
            found = replace(found, path=job.options.results / found.path.relative_to(job.options.results.absolute()))
        return cls(job, found)


class Executor(Protocol):
    """What makes many runs. Its fields are the keys of ``--executor-set``."""

    def run(
        self,
        jobs: Sequence[Job],
        watch: Callable[[Job], Observer],
        interrupted: Callable[[], bool],
        *,
        at_once: int | None = None,
        budget_s: float | None = None,
    ) -> Iterator[Ended]:
        """Make all runs, ``at_once`` of them at a time, and yield each one as it ends, in any order.

        ``watch`` gives the observer of a job when it is started. Once ``interrupted`` is true, no other job is
        started, and those that run stop at a checkpoint.
        """
        ...


def work(
    job: Job, observer: Observer, interrupted: Callable[[], bool], *, again: bool = False
) -> Outcome | MamlBenchError:
    """Make a run on a worker. ``again`` says that it was begun before, so that ``force`` keeps its checkpoint.

    An error that the user can mend is returned, since an exception would not tell a library from the run.
    """
    with _ONE_AT_A_TIME:
        if interrupted():
            return Outcome("interrupted", 0)
        memory.release()
        try:
            if job.recipe.recipe_id != job.recipe_id:
                raise MamlBenchError(
                    f"{job.title}: the worker has another version of maml-bench, for which this is another recipe "
                    f"({job.recipe.recipe_id}, not {job.recipe_id}): install the same version there"
                )
            options = job.options
            if again and options.force:
                options = replace(options, force=not _begun(job))
            return run(job.recipe, job.seed, options, observer=observer, interrupted=interrupted)
        except MamlBenchError as error:
            return error


_ONE_AT_A_TIME = Lock()
"""A run sets the threads and the random generators of its whole process."""


def extra(module: str, name: str, needed_by: str = "") -> Any:
    """The module that the extra ``name`` of the package brings. It is needed by an executor of that name, or by what
    ``needed_by`` says.

    Raises:
        MamlBenchError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        needed_by = needed_by or f"--executor {name}"
        raise MamlBenchError(
            f"{needed_by} needs {module}, which is not installed: python -m pip install 'maml-bench[{name}]'"
        ) from error


def lost(job: Job, how: str, tries: int) -> Ended:
    """The end of a job whose worker did not live to its end, with the last of the tries."""
    times = f"{tries} time{'s' * (tries > 1)}"
    return Ended(job, error=MamlBenchError(f"its worker was lost {times} ({how}); the last checkpoint is kept"))


def next_try(how: str, tries: int, retries: int) -> str:
    """The sentence that says that a lost job is begun again."""
    return f"its worker was lost ({how}); it goes on from its last checkpoint, try {tries + 1} of {retries + 1}"


def _begun(job: Job) -> bool:
    """Whether there is a checkpoint of the job on this machine."""
    here = machine.identity(usable_device(job.options.device))
    path = job.options.results / relative_path(job.recipe.plain(), job.recipe.recipe_id, job.seed, here)
    return checkpoint.find(path.with_suffix(".ckpt"), {})[0] is not None


def _absolute(table: dict[str, Any]) -> dict[str, Any]:
    """A table of a recipe whose code is in a file of the user's, with the whole path of the file."""
    return table | ({"file": str(Path(table["file"]).absolute())} if "file" in table else {})
