"""What one process of several does by itself: its share, its device, what it refuses, and when it speaks."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist

from maml_bench import cli
from maml_bench.errors import Lost, MamlBenchError
from maml_bench.harness import clock
from maml_bench.harness import team as team_module
from maml_bench.harness.executors import torchrun as torchrun_module
from maml_bench.harness.executors import where as where_module
from maml_bench.harness.executors.job import Job
from maml_bench.harness.executors.torchrun import Torchrun
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import Options
from maml_bench.harness.team import Team, _problem, team
from maml_bench.harness.together import refuse_indivisible
from maml_bench.harness.torchrun import Place, place

VARIABLES = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"}


@pytest.fixture
def as_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the second of two that torchrun started."""
    for name, value in {**VARIABLES, "MAML_BENCH_MEMORY": "default"}.items():
        monkeypatch.setenv(name, value)


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
