"""Progress, a bar or lines, beside what is expected: one warning for a run that lies below its band."""

import io
import signal
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from maml_bench.cli import progress
from maml_bench.cli.progress import interruptible
from maml_bench.cli.terminal import duration, say
from maml_bench.harness.run_state import Observer
from maml_bench.record import load_all
from maml_bench.report import bands
from maml_bench.report.bands import Band, Expected

from .conftest import RUN

WAVES = Expected(
    "waves", "quick", "maml", True, ("abc",), (Band(10, 0.5, 0.4, 0.6, 1), Band(20, 0.7, 0.66666, 0.75, 3))
)


@pytest.fixture
def told(monkeypatch):
    """What a run of 100 steps says, called with its validation scores by step."""
    monkeypatch.setattr(bands, "shipped", lambda: {"12345678": WAVES})
    lines = []
    monkeypatch.setattr(progress, "say", lines.append)
    monkeypatch.setattr(progress, "console", lambda *, stderr=False: Console(file=io.StringIO()))

    def run(scores, recipe_id="12345678"):
        with progress.Bars() as bars:
            bars.expect(recipe_id)
            bars.started("waves", 0, 100)
            for step, score in scores.items():
                bars.validated(step, score)
            bars.done()
        return lines[1:]

    return run


def test_the_expected_band_stands_beside_the_score(told):
    lines = told({0: 0.2, 10: 0.512, 15: 0.55, 20: 0.7, 30: 0.8})
    assert len(lines) == 3
    assert ", validation 0.512 (expected 0.4 to 0.6), " in lines[0]
    assert ", validation 0.7 (expected 0.667 to 0.75), " in lines[1]
    assert "expected" not in lines[2]


def test_a_score_below_the_band_is_told_once(told):
    lines = told({0: 0.2, 10: 0.3, 20: 0.4})
    assert [line.startswith("waves: step") for line in lines] == [True, False, True]
    assert lines[1] == (
        "waves: at step 10 the validation score is 0.3, worse than the 0.4 to 0.6 that one seed of the reference "
        "results had there: look at what differs before you spend the whole budget"
    )


def test_a_score_above_the_band_is_no_reason_to_worry(told):
    assert all(line.startswith("waves: step") for line in told({10: 0.9, 20: 0.9}))


def test_an_unknown_recipe_has_no_expectations(told):
    assert "expected" not in "".join(told({10: 0.0, 20: 0.0}, recipe_id="00000000"))


def test_report_writes_the_bands_when_asked(command, results, monkeypatch, tmp_path):
    file = tmp_path / "bands.json"
    monkeypatch.setattr(bands, "_shipped", lambda: file)
    record = next(record for _, record in load_all(results) if record.outer_steps)
    replace(record, recipe={**record.recipe, "changed": []}, seed=7).save(results)
    said = command("report", "--bands")
    assert said.code == 0
    assert f"expected bands: {file}" in said.err
    assert bands.shipped()[record.recipe_id].bands[-1].step == 12


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"), (0.0, "0 s"), (0.04, "0.0 s"), (9.94, "9.9 s"), (45.4, "45 s"), (99.9, "100 s"),
        (150.0, "2.5 min"), (5400.0, "90 min"), (9000.0, "2.5 h"), (36_000.0, "10 h"), (300_000.0, "3.5 days"),
        (2e6, "23 days"),
    ],
)  # fmt: skip
def test_durations(seconds, words):
    assert duration(seconds) == words


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
