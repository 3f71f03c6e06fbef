"""Runs on a Dask cluster: a scheduler and two workers in processes of their own, one of which is killed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import distributed
import pytest

import maml_bench
from maml_bench.errors import MamlBenchError
from maml_bench.harness.clock import monotonic_s, pause
from maml_bench.harness.executors import job as job_module
from maml_bench.harness.executors.dask import Dask

from .conftest import Watchers, assert_undisturbed, made


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with two workers of one thread."""
    file = tmp_path / "scheduler.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(maml_bench.__file__).parents[1]),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    }
    (tmp_path / "elsewhere").mkdir()

    def start(module: str, *words: str) -> None:
        line = [sys.executable, "-m", f"distributed.cli.{module}", "--scheduler-file", str(file), *words]
        process = subprocess.Popen(
            line, env=environment, cwd=tmp_path / "elsewhere", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stack.callback(process.wait)
        stack.callback(process.kill)

    with ExitStack() as stack:
        start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        for _ in range(2):
            start("dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        end_s = monotonic_s() + 60
        while not file.exists() and monotonic_s() < end_s:
            pause(0.1)
        yield json.loads(file.read_text())["address"]


def test_a_run_whose_worker_is_killed_goes_on_elsewhere_to_the_same_bits(jobs, scheduler, tmp_path):
    def kill_its_worker():
        with distributed.Client(scheduler, set_as_default=False) as client:
            (address,) = [at for at, keys in client.processing().items() if any(key.endswith("-0") for key in keys)]
            os.kill(client.run(os.getpid, workers=[address])[address], 9)

    watch = Watchers(kill_its_worker)
    ended = made(Dask(scheduler=scheduler, checkpoint_s=0.0), jobs, watch)
    said = watch[0].sentences
    assert "its worker was lost (its Dask worker died); it goes on from its last checkpoint, try 2 of 3" in said
    assert any(sentence.startswith("resuming from step ") for sentence in said)
    assert assert_undisturbed(ended[0], tmp_path).segments == 2
    assert ended[1].outcome.record.segments == 1
    assert len(watch[1].losses) > 0


def test_a_cluster_of_this_machine_is_stopped_at_a_checkpoint(jobs):
    watch = Watchers(lambda: asked.append(True))
    asked = []
    ended = list(Dask().run(jobs, watch, lambda: bool(asked), at_once=1))
    assert [(one.job.seed, one.outcome.how) for one in ended] == [(0, "interrupted")]
    assert ended[0].outcome.step > 0


@pytest.mark.parametrize(
    ("options", "more", "sentence"),
    [
        ({"scheduler": "tcp://127.0.0.1:1"}, {}, "no Dask scheduler answers at 'tcp://127.0.0.1:1'"),
        ({"scheduler": "nowhere"}, {}, "no Dask scheduler answers at 'nowhere'"),
        ({}, {"budget_s": 1.0}, "--budget of a suite is for processes of this machine"),
        ({"scheduler": "tcp://a:1", "retries": 5}, {}, "retries has no effect on a scheduler of yours"),
    ],
)
def test_what_cannot_be_is_one_sentence(jobs, monkeypatch, options, more, sentence):
    monkeypatch.setattr("maml_bench.harness.executors.dask.ANSWER_S", 1)
    with pytest.raises(MamlBenchError, match=sentence):
        list(Dask(**options).run(jobs, Watchers(), lambda: False, **more))


def test_without_the_extra_the_sentence_says_how_to_install_it(jobs, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(job_module, "import_module", missing)
    with pytest.raises(MamlBenchError) as caught:
        list(Dask().run(jobs, Watchers(), lambda: False))
    assert str(caught.value) == (
        "--executor dask needs distributed, which is not installed: python -m pip install 'maml-bench[dask]'"
    )
