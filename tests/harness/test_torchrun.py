"""One run that torchrun starts in two processes: the same numbers as in one, and one end for both of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from maml_bench import cli
from maml_bench.cli.net import SHOW_TRACE
from maml_bench.harness import checkpoint
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import Options, run
from maml_bench.record import Record
from maml_bench.record_files import load
from tests.data import own_factory
from tests.harness import in_several_processes
from tests.harness.in_several_processes import ON_ONE_THREAD, WHOLE

ROOT = Path(__file__).parents[2]
CLOSE = 1e-10
OPTIONS = ("--preset", "smoke", "--schedule", "vmap", "--threads", "1", "--results", "two", "--no-report")
RUN = ("maml_bench", "run", "sinusoid-k10", *OPTIONS, *(word for setting in WHOLE for word in ("--set", setting)))


def torchrun(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start a module in two processes, in a folder. Its standard error is in ``folder/err``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "MAML_BENCH_DATA": str(folder / "home"),
        "MAML_BENCH_MEMORY": "default",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    environment.pop(SHOW_TRACE, None)
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port, "-m"]
    with (folder / "err").open("w") as err, (folder / "out").open("w") as out:
        return subprocess.Popen(
            [str(word) for word in (*line, *arguments)], cwd=folder, env=environment, stdout=out, stderr=err, text=True
        )


def ended(process: subprocess.Popen[str], folder: Path) -> tuple[int, str]:
    """Exit code and standard error, without what torchrun itself says."""
    try:
        code = process.wait(timeout=240)
    finally:
        process.kill()
    return code, (folder / "err").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what two processes in `in_several_processes` have left."""
    folder = tmp_path_factory.mktemp("several")
    pictures = own_factory.write(folder / "pictures", {f"kind{number:02}": 17 for number in range(15)})
    arguments = ["data", "add", "birds", str(pictures), "--size", "16", "--parts", "5,5,5"]
    said = CliRunner().invoke(cli.app, arguments, env={"MAML_BENCH_DATA": str(folder / "home")})
    assert said.exit_code == 0, said.output
    code, err = ended(torchrun(folder, in_several_processes.__name__, "found.json", "whole"), folder)
    assert code == 0, err
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """What each of the two processes has found."""
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def records(folder: Path) -> dict[str, Record]:
    """The records of the two runs, by their status."""
    return {record.status: record for record in map(load, (folder / "whole" / "records").rglob("*.json"))}


@pytest.mark.parametrize("case", in_several_processes.CASES)
def test_two_processes_train_as_one_does(found: list[dict[str, Any]], case: str) -> None:
    for of_process in found:
        apart = of_process[case]
        assert apart["size of the gradient"] > 1e-2
        assert apart["way that was gone"] > 1e-5
        for what in ("gradient", "losses of tasks", "losses of steps", "meta-parameters", "optimiser"):
            assert apart[what] < CLOSE, what
        assert apart["another process"] == 0
    assert [of_process[case]["tasks"] for of_process in found] in ([2, 2], [2, 3], [1, 2], [12, 13])


def test_an_error_in_a_step_ends_all_processes_with_its_sentence(found: list[dict[str, Any]]) -> None:
    for rank, heard in enumerate(zip(*(of_process["errors"] for of_process in found), strict=True)):
        assert heard[rank] == "ArithmeticError: no number"
        assert heard[1 - rank] == f"FailedElsewhere: in process {rank} of 2: ArithmeticError: no number"


def test_a_step_that_draws_random_numbers_is_refused_by_all(found: list[dict[str, Any]]) -> None:
    assert found[0]["drawing"] == found[1]["drawing"]
    assert "draws random numbers here" in found[0]["drawing"]


def test_the_first_process_decides(found: list[dict[str, Any]]) -> None:
    assert [of_process["agreed"] for of_process in found] == [[True, False], [True, False]]


def test_a_process_that_ended_is_noticed(found: list[dict[str, Any]]) -> None:
    first, second = found[0]["lost"]
    assert first.startswith("process 0 of 2 cannot reach the others any more, because one of them has ended")
    assert second.startswith("the processes of this command no longer work together")


@pytest.mark.slow
def test_a_diverging_run_ends_in_all_processes(records: dict[str, Record]) -> None:
    """The processes made the other run before, and the test of a lost one after it, so none of them waits."""
    diverged = records["diverged"]
    assert "the outer loss was not finite at step" in str(diverged.reason)
    assert (diverged.processes, diverged.outer_steps < 20) == (2, True)


@pytest.mark.slow
def test_a_record_is_that_of_one_process_but_for_rounding(records: dict[str, Record], tmp_path: Path) -> None:
    recipe = resolve("sinusoid-k10", preset="smoke", settings=WHOLE)
    one, two = run(recipe, 0, Options(tmp_path, **ON_ONE_THREAD)).record, records["ok"]
    assert one is not None
    assert (one.processes, two.processes, two.threads, two.outer_steps) == (1, 2, 1, 200)
    assert two.curve.step == one.curve.step
    assert two.curve.train_loss[1] == pytest.approx(one.curve.train_loss[1], rel=1e-4)
    assert two.curve.train_loss[1:] == pytest.approx(one.curve.train_loss[1:], rel=0.05)
    assert two.curve.validation == pytest.approx(one.curve.validation, rel=0.05)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_record_of_an_uninterrupted_one(
    records: dict[str, Record], tmp_path: Path
) -> None:
    process = torchrun(tmp_path, *RUN)
    deadline_s = time.monotonic() + 120
    while "step 20 of 200" not in (tmp_path / "err").read_text() and process.poll() is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = ended(process, tmp_path)
    assert "the same command continues from there" in err
    assert err.count("200 steps to go") == 1
    assert not list((tmp_path / "two").rglob("*.json"))
    (kept,) = (tmp_path / "two").rglob("*.ckpt")
    state = checkpoint.load(kept, {"processes": 2})
    assert state is not None
    assert 20 <= state.step < 200

    code, err = ended(torchrun(tmp_path, *RUN), tmp_path)
    assert code == 0, err
    assert f"resuming from step {state.step}" in err
    (path,) = (tmp_path / "two" / "records").rglob("*.json")
    whole, resumed = records["ok"], load(path)
    assert (resumed.processes, whole.segments, resumed.segments) == (2, 1, 2)
    assert resumed.evaluations == whole.evaluations
    assert replace(resumed.curve, seconds=[]) == replace(whole.curve, seconds=[])
