"""Runs as jobs of a real Slurm, which are preempted and cancelled. Without Slurm a sentence says that none ran."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from maml_bench.errors import MamlBenchError
from maml_bench.harness.clock import monotonic_s, pause
from maml_bench.harness.executors import slurm as module
from maml_bench.harness.executors.job import Job
from maml_bench.harness.executors.slurm import Slurm

from ..conftest import Listener
from .conftest import LONG, Watchers, assert_undisturbed, made


def answers() -> bool:
    """Whether there is a Slurm that takes jobs from here."""
    if shutil.which("sbatch") is None:
        return False
    line = ["sinfo", "--noheader", "--format=%a"]
    try:
        asked = subprocess.run(line, capture_output=True, text=True, check=False, timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0 and "up" in asked.stdout


real = pytest.mark.skipif(not answers(), reason="the tests of Slurm did not run: no Slurm answers to sbatch here")
HERE = {"time": 60, "memory_gb": 1.0, "checkpoint_s": 0.0}


class Told(Listener):
    """A listener that acts once on each sentence that ends with certain words."""

    def __init__(self, acts: dict[str, Callable[[str], object]]) -> None:
        super().__init__()
        self._acts = acts

    def said(self, sentence: str) -> None:
        super().said(sentence)
        for end in [end for end in self._acts if sentence.endswith(end)]:
            self._acts.pop(end)(sentence.split()[1])


@pytest.fixture
def job(tiny, jobs, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job that takes some seconds, and a client that asks Slurm often."""
    monkeypatch.setattr(module, "ASK_EVERY_S", 0.5)
    return replace(jobs[0], recipe=tiny(*LONG, "outer.steps=450", "validation.every=150"))


def wait_for_a_checkpoint(results: Path) -> None:
    """Wait until a run has taken a few steps."""
    end_s = monotonic_s() + 100
    while monotonic_s() < end_s:
        if any(name.endswith(".ckpt") for _, _, names in os.walk(results) for name in names):
            return
        pause(0.05)


def slurm(*words: str) -> None:
    """A command of Slurm."""
    subprocess.run(words, check=True, capture_output=True)


@real
def test_a_preempted_job_is_queued_again_and_goes_on_to_the_same_bits(job, tmp_path):
    def preempt(number: str) -> None:
        wait_for_a_checkpoint(job.options.results)
        slurm("scancel", "--signal=USR2", number)
        told._acts["is pending"] = start_at_once

    def start_at_once(number: str) -> None:
        """Slurm waits for two minutes before it begins a job again."""
        slurm("scontrol", "update", f"JobId={number}", "StartTime=now")

    told = Told({"is running": preempt})
    ended = made(Slurm(**HERE), [job], lambda job: told)
    assert assert_undisturbed(ended[0], tmp_path).segments == 2
    states = [sentence.rpartition(" is ")[2] for sentence in told.sentences]
    assert states.count("running") == 2
    assert "this job is preempted" in next((job.options.results / "slurm").glob("*.err")).read_text()


@real
def test_a_killed_job_is_submitted_again_and_goes_on_from_its_checkpoint(job, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 2.0)

    def kill(number: str) -> None:
        """From outside of Slurm, which takes a SIGKILL that it sends itself for a wish to cancel the job."""
        wait_for_a_checkpoint(job.options.results)
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "submitit.core._submit" in words and str(job.options.results / "slurm") in words and "srun" not in words:
                process.kill()

    told = Told({"is running": kill})
    ended = made(Slurm(**HERE, retries=1), [job], lambda job: told)
    assert any("its worker was lost (job " in sentence and "try 2 of 2" in sentence for sentence in told.sentences)
    record = ended[0].outcome.record
    assert (record.whole, record.segments) == (True, 2)


@real
def test_ctrl_c_cancels_the_jobs_which_stop_at_a_checkpoint(job):
    asked = []

    def stop(number: str) -> None:
        wait_for_a_checkpoint(job.options.results)
        asked.append(number)

    watch = {0: Told({"is running": stop}), 1: Listener()}
    jobs = [job, replace(job, seed=1)]
    ended = {
        one.job.seed: one.outcome
        for one in Slurm(**HERE).run(jobs, lambda job: watch[job.seed], lambda: bool(asked), at_once=1)
    }
    assert [ended[seed].how for seed in (0, 1)] == ["interrupted"] * 2
    assert ended[0].step > 0
    assert len(list(job.options.results.rglob("*.ckpt"))) == 1


def files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "Slurm takes no jobs here: Could not detect "),
        ({"budget_s": 1.0}, "--budget of a suite is for processes of this machine"),
    ],
)
def test_what_cannot_be_is_one_sentence(job, monkeypatch, tmp_path, more, sentence):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MamlBenchError, match=sentence):
        list(Slurm().run([job], Watchers(), lambda: False, **more))
    assert not list(files(job.options.results))


def test_states_are_read_with_and_without_arrays_and_no_answer_is_no_state(monkeypatch):
    def asked(code: int, out: str, err: str = "") -> dict[str, str] | None:
        answer = subprocess.CompletedProcess([], code, out, err)
        monkeypatch.setattr(module.subprocess, "run", lambda *words, **more: answer)
        return module._states([])

    found = asked(0, "7_0 8 RUNNING\n7_1 9 PENDING\n12 12 COMPLETED\n")
    assert found == {"7_0": "RUNNING", "8": "RUNNING", "7_1": "PENDING", "9": "PENDING", "12": "COMPLETED"}
    assert asked(1, "", "slurm_load_jobs error: Invalid job id specified") == {}
    assert asked(1, "", "slurm_load_jobs error: Unable to contact slurm controller") is None


def test_no_jobs_are_no_work(jobs):
    assert made(Slurm(), [], Watchers()) == {}
