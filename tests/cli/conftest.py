"""The command line called in this process, and results of two tiny runs to read."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from benchmarks.hostility.calls import RUN as TINY_RUN
from benchmarks.hostility.calls import TINY
from maml_bench import cli
from maml_bench.harness import machine
from maml_bench.harness.recipe import resolve_all
from maml_bench.harness.run import Options, run

RUN = TINY_RUN[2:]
"""Options of a run of milliseconds."""


class Said(NamedTuple):
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder, data home and locks of the test's own; this process stays as it is."""
    for name in ("MAML_BENCH_RESULTS", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    (tmp_path / "locks").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("MAML_BENCH_MEMORY", "default")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "locks"))
    monkeypatch.setattr(machine, "convolution_gflops", lambda device="cpu": 100.0)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call ``maml-bench`` with arguments."""

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["maml-bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.main()
        code = exit.value.code
        return Said(code if isinstance(code, int) else int(code is not None), *capsys.readouterr())

    return call


@pytest.fixture
def narrow(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call the command at a terminal of 80 columns."""

    def call(*arguments: object) -> Said:
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", "80")
            patch.setattr(type(sys.stdout), "isatty", lambda stream: True)
            return command(*arguments)

    return call


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of maml and scratch, made once."""
    results = tmp_path_factory.mktemp("two_runs")
    threads = torch.get_num_threads()
    for recipe in resolve_all("sinusoid-k10", preset="smoke", setups=["maml", "scratch"], settings=TINY):
        run(recipe, 0, Options(results, threads=1))
    torch.set_num_threads(threads)
    return results


@pytest.fixture
def results(two_runs: Path) -> Path:
    """A copy of those results in the working folder, as ``runs``."""
    return Path(shutil.copytree(two_runs, "runs"))
