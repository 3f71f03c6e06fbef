"""Runs in several processes: a worker is killed, a run is stopped, a budget ends."""

from dataclasses import replace

import psutil

from maml_bench.harness.executors.processes import Processes, here
from maml_bench.harness.run_state import RunState, Silent

from .conftest import STEPS, Watchers, assert_undisturbed, made


def workers():
    """The workers of this process, in the order of their start."""
    children = psutil.Process().children()
    return [child for child in children if "maml_bench.harness.executors.worker" in child.cmdline()]


def kill_the_first_worker():
    """The first worker has the first job."""
    workers()[0].kill()


def test_a_run_whose_worker_is_killed_goes_on_from_its_checkpoint_to_the_same_bits(jobs, tmp_path):
    watch = Watchers(kill_the_first_worker)
    ended = made(Processes(retries=1, checkpoint_s=0.0), jobs, watch, at_once=2)
    said = watch[0].sentences
    assert "its worker was lost (signal SIGKILL); it goes on from its last checkpoint, try 2 of 2" in said
    assert any(sentence.startswith("resuming from step ") for sentence in said)
    assert not any("lost" in sentence for sentence in watch[1].sentences)
    record = assert_undisturbed(ended[0], tmp_path)
    assert (record.segments, record.outer_steps) == (2, STEPS)
    assert ended[1].outcome.record.segments == 1
    assert not workers()


def test_a_run_whose_worker_is_killed_too_often_is_given_up(jobs):
    ended = made(Processes(retries=0), jobs[:1], Watchers(kill_the_first_worker), at_once=2)
    assert str(ended[0].error) == "its worker was lost 1 time (signal SIGKILL); the last checkpoint is kept"


def test_one_process_is_this_one(jobs):
    short = [replace(job, options=replace(job.options, budget_steps=1)) for job in jobs]
    assert made(Processes(), short, Watchers(), at_once=1).keys() == {0, 1}
    assert not workers()


def test_no_job_is_begun_when_the_budget_is_over(jobs, monkeypatch):
    """By a clock of 0.01 s a step, 0.09 s are over after seven steps: the next two might not fit."""
    monkeypatch.setattr(RunState, "train_s", property(lambda training: 0.01 * training.step))
    (ended,) = here(jobs, lambda job: Silent(), lambda: False, 0.09)
    assert (ended.job.seed, ended.outcome.step) == (0, 7)
