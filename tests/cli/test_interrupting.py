"""Ctrl-C, and the same command again."""

import os
import signal

from maml_bench.core import outer as outer_module

from .conftest import RUN
from .test_running import records


def interrupt_at(monkeypatch, step, times=1):
    """Send this process the signal of Ctrl-C after a meta-step."""
    real = outer_module.meta_gradient
    count = iter(range(1, 1000))

    def gradient(*arguments, **options):
        result = real(*arguments, **options)
        if next(count) == step:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(outer_module, "meta_gradient", gradient)


def test_ctrl_c_finishes_the_step_and_the_same_command_resumes(command, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        said = command("run", "sinusoid-k10", *RUN, "--seeds", "0,1")
    assert said.code == 130
    assert "stopping after this step; press Ctrl-C again to stop at once" in said.err
    assert said.err.splitlines()[-1] == "stopped at step 5; the same command continues from there"
    assert records() == {}
    assert signal.getsignal(signal.SIGINT) is before
    said = command("run", "sinusoid-k10", *RUN, "--seeds", "0,1")
    assert said.code == 0
    assert "resuming from step 5 of 12" in said.err
    assert set(records()) == {("maml", 0), ("maml", 1)}


def test_ctrl_c_in_the_last_step_keeps_the_record_and_starts_no_other(command, monkeypatch):
    interrupt_at(monkeypatch, 12)
    assert command("run", "sinusoid-k10", *RUN, "--seeds", "0,1").code == 130
    assert [(key, record.whole) for key, record in records().items()] == [(("maml", 0), True)]


def test_ctrl_c_twice_stops_at_once(command, monkeypatch):
    interrupt_at(monkeypatch, 5, times=2)
    said = command("run", "sinusoid-k10", *RUN)
    assert said.code == 130
    assert "Traceback" not in said.err
    assert records() == {}


def test_after_a_forced_run_the_sentence_tells_how_to_go_on(command, monkeypatch):
    command("run", "sinusoid-k10", *RUN)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        said = command("run", "sinusoid-k10", *RUN, "--force")
    assert "without --force" in said.err.splitlines()[-1]
