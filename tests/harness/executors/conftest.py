"""Runs of a few seconds that are made elsewhere, and the same runs made here without any disturbance."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from maml_bench.harness.executors.job import Ended, Executor, Job
from maml_bench.harness.run import Options, run
from maml_bench.record import Record

from ..conftest import Listener, surroundings, tiny  # noqa: F401
from ..test_resume import same_bits

STEPS = 300
LONG = (f"outer.steps={STEPS}", "validation.every=150")
"""Settings of a run that is long enough to be killed in it."""


@pytest.fixture
def jobs(tiny, tmp_path: Path) -> list[Job]:  # noqa: F811
    """Two jobs, of seeds 0 and 1."""
    options = Options(tmp_path / "runs", threads=1)
    return [Job(tiny(*LONG), seed, options) for seed in (0, 1)]


class Watchers(dict[int, Listener]):
    """The listeners of the jobs by seed. ``in_mid_run`` is called once, after the first step of seed 0."""

    def __init__(self, in_mid_run: Callable[[], object] = lambda: None) -> None:
        self._act = in_mid_run

    def __call__(self, job: Job) -> Listener:
        listener = self.setdefault(job.seed, Listener())
        if job.seed == 0:
            listener.stepped = self._stepped
        return listener

    def _stepped(self, step: int, loss: float) -> None:
        if step > 1:
            act, self._act = self._act, lambda: None
            act()


def made(executor: Executor, jobs: list[Job], watch: Callable[[Job], Listener], **more: object) -> dict[int, Ended]:
    """How the jobs ended, by seed."""
    return {ended.job.seed: ended for ended in executor.run(jobs, watch, lambda: False, **more)}


def assert_undisturbed(ended: Ended, tmp_path: Path) -> Record:
    """The record of a job equals the one of the same run made here in one piece, but for its times; return it."""
    assert ended.outcome is not None
    record = ended.outcome.record
    undisturbed = replace(ended.job.options, results=tmp_path / "undisturbed")
    other = run(ended.job.recipe, ended.job.seed, undisturbed)
    assert record is not None
    assert record.whole
    assert same_bits(record, other.record)
    assert record.recipe == other.record.recipe
    weights = [
        next((folder / "weights").rglob(f"*-s{record.seed}-*.safetensors")).read_bytes()
        for folder in (ended.job.options.results, undisturbed.results)
    ]
    assert weights[0] == weights[1]
    return record
