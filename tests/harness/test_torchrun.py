"""One run that torchrun starts in two processes: the same numbers as in one, and one end for both of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from typer.testing import CliRunner

from maml_bench import cli
from maml_bench.cli.net import SHOW_TRACE
from maml_bench.errors import Lost, MamlBenchError
from maml_bench.harness import checkpoint, clock
from maml_bench.harness import team as team_module
from maml_bench.harness.executors import torchrun as torchrun_module
from maml_bench.harness.executors import where as where_module
from maml_bench.harness.executors.job import Job
from maml_bench.harness.executors.torchrun import Torchrun
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import Options, run
from maml_bench.harness.team import Team, _problem, team
from maml_bench.harness.together import refuse_indivisible
from maml_bench.harness.torchrun import Place, place
from maml_bench.record import Record
from maml_bench.record_files import load
from tests.data import own_factory
from tests.harness import in_several_processes
from tests.harness.in_several_processes import ON_ONE_THREAD, WHOLE

ROOT = Path(__file__).parents[2]
CLOSE = 1e-10
VARIABLES = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"}
OPTIONS = ("--preset", "smoke", "--schedule", "vmap", "--threads", "1", "--results", "two", "--no-report")
RUN = ("maml_bench", "run", "sinusoid-k10", *OPTIONS, *(word for setting in WHOLE for word in ("--set", setting)))


@pytest.fixture
def as_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the second of two that torchrun started."""
    for name, value in {**VARIABLES, "MAML_BENCH_MEMORY": "default"}.items():
        monkeypatch.setenv(name, value)


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


def test_a_diverging_run_ends_in_all_processes(records: dict[str, Record]) -> None:
    """The processes made the other run before, and the test of a lost one after it, so none of them waits."""
    diverged = records["diverged"]
    assert "the outer loss was not finite at step" in str(diverged.reason)
    assert (diverged.processes, diverged.outer_steps < 20) == (2, True)


def test_a_record_is_that_of_one_process_but_for_rounding(records: dict[str, Record], tmp_path: Path) -> None:
    recipe = resolve("sinusoid-k10", preset="smoke", settings=WHOLE)
    one, two = run(recipe, 0, Options(tmp_path, **ON_ONE_THREAD)).record, records["ok"]
    assert one is not None
    assert (one.processes, two.processes, two.threads, two.outer_steps) == (1, 2, 1, 200)
    assert two.curve.step == one.curve.step
    assert two.curve.train_loss[1] == pytest.approx(one.curve.train_loss[1], rel=1e-4)
    assert two.curve.train_loss[1:] == pytest.approx(one.curve.train_loss[1:], rel=0.05)
    assert two.curve.validation == pytest.approx(one.curve.validation, rel=0.05)


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


def test_only_torchrun_with_several_processes_counts(monkeypatch: pytest.MonkeyPatch, as_second: None) -> None:
    assert place() == Place(1, 2, 1, 2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert place() is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")  # other programs set RANK and WORLD_SIZE too
    assert place() is None
    assert team() is None


@pytest.mark.parametrize("words", [["suite", "table1"], ["report"], ["--version"], []])
def test_other_commands_are_refused_once(
    words: list[str], monkeypatch: pytest.MonkeyPatch, as_second: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["maml-bench", *words])
    waited: list[float] = []
    monkeypatch.setattr(clock, "pause", waited.append)
    said = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as exit:
            cli.main()
        assert exit.value.code == 2
        said.append(capsys.readouterr().err)
    assert "torchrun can start only `maml-bench run`" in said[0]
    assert (said[1], len(waited)) == ("", 1)


@pytest.mark.parametrize(
    ("recipe", "setup", "settings", "words"),
    [
        ("sinusoid-k10", "maml", ["outer.meta_batch=3"], "outer.meta_batch is 3"),
        ("sinusoid-k10", "scratch", [], "scratch has no meta-training"),
        ("sinusoid-k10-l2", "multi_task", [], "multi_task trains all tasks of its pool"),
        ("navigation", "maml", [], "navigation are of reinforcement learning"),
        ("bandit", "rl2", [], "bandit are of reinforcement learning"),
    ],
)
def test_what_cannot_be_divided_is_refused(recipe: str, setup: str, settings: list[str], words: str) -> None:
    with pytest.raises(MamlBenchError, match=words) as refused:
        refuse_indivisible(resolve(recipe, preset="smoke", setup=setup, settings=settings), 4)
    assert "for setups whose meta-gradient is a mean over labelled tasks" in str(refused.value)


def test_what_can_be_divided_is_not_refused() -> None:
    refuse_indivisible(resolve("sinusoid-k10", preset="smoke", settings=["outer.meta_batch=4"]), 4)


def test_processes_that_differ_are_told() -> None:
    first = {"torch": "2.13", "data": None}
    assert _problem([first, first]) is None
    assert _problem([first, first, "data set birds is not stored"]) == "process 2 of 3: data set birds is not stored"
    assert _problem([first, first | {"torch": "2.12"}]) == "process 1 of 2 has another torch (2.12, not 2.13)"


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Team:
    """The second of two processes, without connections to the first."""
    monkeypatch.setattr(dist, "init_process_group", lambda *backend, **options: None)
    return Team(Place(1, 2, 1, 2))


def test_shares_are_the_whole_and_differ_by_one_task_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "init_process_group", lambda *backend, **options: None)
    for size in (2, 3, 8):
        for count in (8, 25, 32):
            shares = [Team(Place(rank, size, rank, size)).share(count) for rank in range(size)]
            assert [task for share in shares for task in share] == list(range(count))
            assert {len(share) for share in shares} <= {count // size, count // size + 1}


def test_a_process_takes_the_gpu_of_its_local_rank(second: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    assert second.device("cpu") == "cpu"
    with pytest.raises(MamlBenchError, match="use --device cuda in the place of cuda:0"):
        second.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MamlBenchError, match="no device 'cuda:1': torch sees 1 CUDA devices"):
        second.device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (second.device("cuda"), chosen) == ("cuda:1", ["cuda:1"])


def test_the_cores_are_divided_among_the_processes_of_a_machine(second: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8)
    assert second.cores == 4
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: None)
    assert second.cores == 6
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert second.cores == 1


@pytest.mark.parametrize("given", [{"at_once": 1}, {"name": "dask"}, {"file": Path("a.toml")}, {"settings": ["a=1"]}])
def test_an_executor_of_many_runs_is_refused(second: Team, monkeypatch: pytest.MonkeyPatch, given: Any) -> None:
    monkeypatch.setattr(where_module, "team", lambda: second)
    with pytest.raises(MamlBenchError, match="leave out --jobs, --executor and its options"):
        where_module.where(**given)
    assert (where_module.where().machines, where_module.where().several) == (False, False)


def test_no_run_is_started_if_one_of_them_cannot_be_divided(second: Team) -> None:
    recipes = [resolve("sinusoid-k10", preset="smoke", settings=[f"outer.meta_batch={count}"]) for count in (2, 1)]
    jobs = [Job(recipe, 0, Options()) for recipe in recipes]
    with pytest.raises(MamlBenchError, match=r"outer\.meta_batch is 1"):
        list(Torchrun(second).run(jobs, lambda job: pytest.fail("a run was started"), lambda: False))


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (None, 0, ""),
        (Lost("the first one has ended"), 1, ""),
        (MamlBenchError("birds cannot be read"), 1, "error: process 1 of 2: birds cannot be read\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_process_that_follows_says_only_what_went_wrong_in_itself(
    as_second: None, second: Team, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    error: BaseException | None, code: int, sentence: str,
) -> None:  # fmt: skip
    def follow(team: Team) -> None:
        if error:
            raise error

    monkeypatch.setattr(team_module, "team", lambda: second)
    monkeypatch.setattr(torchrun_module, "follow", follow)
    monkeypatch.setattr(sys, "argv", ["maml-bench", "run", "no such recipe"])
    with pytest.raises(SystemExit) as exit, warnings.catch_warnings():
        cli.main()
    assert (exit.value.code, *capsys.readouterr()) == (code, "", sentence)
