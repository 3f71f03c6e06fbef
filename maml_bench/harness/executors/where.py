"""From the words of a command to the executor that makes its runs."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from maml_bench.checked import construct
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import read_bytes
from maml_bench.harness.executors.dask import Dask
from maml_bench.harness.executors.job import Ended, Executor, Job
from maml_bench.harness.executors.processes import Processes
from maml_bench.harness.executors.slurm import Slurm
from maml_bench.harness.executors.torchrun import Torchrun
from maml_bench.harness.layers import merged, setting
from maml_bench.harness.run_state import Observer
from maml_bench.harness.team import team

EXECUTORS: dict[str, type[Any]] = {"processes": Processes, "dask": Dask, "slurm": Slurm}


@dataclass(frozen=True)
class Where:
    """An executor, and how many runs it makes at a time; None for its default."""

    executor: Executor
    at_once: int | None = None

    @property
    def machines(self) -> bool:
        """Whether runs may be made on other machines than this one."""
        return not isinstance(self.executor, Processes | Torchrun)

    @property
    def several(self) -> bool:
        """Whether several runs may be made at a time."""
        return self.machines or self.at_once not in (None, 1)

    def run(
        self,
        jobs: Sequence[Job],
        watch: Callable[[Job], Observer],
        interrupted: Callable[[], bool],
        budget_s: float | None = None,
    ) -> Iterator[Ended]:
        """Make all runs; see `job.Executor.run`."""
        return self.executor.run(jobs, watch, interrupted, at_once=self.at_once, budget_s=budget_s)


def where(
    name: str = "processes", at_once: int | None = None, file: Path | None = None, settings: Sequence[str] = ()
) -> Where:
    """The executor called ``name``, with its options from a TOML ``file`` and ``settings`` such as ``retries=5``.

    In a process that torchrun started with others, all of them make each run.

    Raises:
        MamlBenchError: there is no such executor or option, a value is wrong, or an option would have no effect.
    """
    if together := team():
        if at_once is not None or name != "processes" or file or settings:
            raise MamlBenchError(
                "torchrun has started the processes, which make one run after the other together: leave out --jobs, "
                "--executor and its options"
            )
        return Where(Torchrun(together))
    if name not in EXECUTORS:
        raise MamlBenchError(f"no executor {name!r}{nearest(name, EXECUTORS)}")
    tables = [setting(text, "--executor-set", "retries=5") for text in settings]
    options = reduce(merged, tables, {} if file is None else _read(file))
    found = Where(construct(EXECUTORS[name], options, f"executor {name!r}"), at_once)
    if options and not found.several:
        raise MamlBenchError(f"the option {next(iter(options))!r} has no effect on one process: use --jobs N")
    return found


def _read(file: Path) -> Mapping[str, Any]:
    """The table in a TOML file."""
    try:
        return tomllib.loads(read_bytes(file).decode())
    except OSError as error:
        raise MamlBenchError(f"--executor-options {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, numbers or brackets without end
        raise MamlBenchError(f"--executor-options {file} cannot be read: {str(error)[:200]}") from error
