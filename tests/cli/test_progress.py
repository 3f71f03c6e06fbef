"""Progress, as a bar at a terminal and as lines elsewhere, and what Ctrl-C does."""

import io
import signal
import sys

from rich.console import Console

from maml_bench.cli import progress
from maml_bench.cli.progress import interruptible
from maml_bench.cli.terminal import say
from maml_bench.harness.run_state import Observer

from .conftest import RUN


def test_ctrl_c_in_the_middle_of_a_sentence_is_heard(monkeypatch, capfd):
    """Python refuses a write to a stream within a write to it, which is where the signal may come."""

    class Interrupted(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            written.append(bytes(data))
            signal.raise_signal(signal.SIGINT)
            return len(data)

    written = []
    stream = io.TextIOWrapper(io.BufferedWriter(Interrupted()), write_through=True)
    with interruptible("stopping") as interrupted:
        monkeypatch.setattr(sys, "stderr", stream)
        say("10 steps to go")
        assert interrupted()
    assert written == [b"10 steps to go\n"]
    assert capfd.readouterr().err == "\nstopping\n"


def test_a_terminal_sees_a_bar(command, monkeypatch):
    shown = []

    def console(*, stderr):
        return Console(stderr=stderr, force_terminal=True, width=160, highlight=False)

    monkeypatch.setattr(progress, "console", console)
    moments = iter(range(100_000))
    monkeypatch.setattr(progress.Bars, "_now", lambda self: next(moments))
    real = progress.Bars.stepped

    def stepped(self, step, loss):
        real(self, step, loss)
        shown.append(dict(self._progress.tasks[0].fields, completed=self._progress.tasks[0].completed))

    monkeypatch.setattr(progress.Bars, "stepped", stepped)
    said = command("run", "sinusoid-k10", *RUN)
    assert said.code == 0
    assert [task["completed"] for task in shown] == list(range(1, 13))
    assert shown[0]["rate"] == "1.0 steps/s"
    assert shown[0]["loss"].startswith("loss ")
    assert shown[4]["validation"].startswith("validation ")
    assert "testing on 6 tasks" in said.err
    assert "steps to go" not in said.err


def test_without_a_terminal_one_line_a_tenth(monkeypatch):
    lines = []
    monkeypatch.setattr(progress, "say", lines.append)
    monkeypatch.setattr(progress, "console", lambda *, stderr=False: Console(file=io.StringIO()))
    with progress.Bars() as bars:
        monkeypatch.setattr(bars, "_now", iter(range(1000)).__next__)
        bars.started("waves", 0, 100)
        for step in range(0, 101, 5):
            bars.validated(step, 0.5)
        bars.done()
    assert lines[0] == "waves: 100 steps to go"
    assert [line.split(",")[0] for line in lines[1:]] == [f"waves: step {s} of 100" for s in range(10, 101, 10)]
    assert lines[1] == "waves: step 10 of 100, validation 0.5, 10.0 steps/s, 9 s left"


def test_the_observer_is_a_harness_observer():
    assert {name for name in vars(Observer) if not name.startswith("_")} <= set(dir(progress.Bars))
