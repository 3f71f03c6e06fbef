"""``--jobs N``: several processes, one display, one table, and what each of them came to."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import maml_bench
from maml_bench.cli import progress
from maml_bench.cli.exit_codes import ExitCode
from maml_bench.record_files import load_all

from .conftest import RUN
from .test_running import records

FAILS = """
from dataclasses import dataclass

from maml_bench.setups.maml import MAML


@dataclass(frozen=True)
class Mine(MAML):
    def gradient(self, *arguments, **options):  # in the training, not in the rehearsal before it
        raise RuntimeError("out of luck")
"""
DIES = FAILS.replace('raise RuntimeError("out of luck")', "import os; os.kill(os.getpid(), 9)")


def test_what_fails_is_listed_with_its_reason_and_the_rest_is_run(command):
    Path("fails.py").write_text(FAILS)
    Path("dies.py").write_text(DIES)
    setups = [word for name in ("./dies.py", "maml", "./fails.py") for word in ("--setup", name)]
    said = command("run", "sinusoid-k10", *RUN, *setups, "--jobs", "2", "--executor-set", "retries=0", "--json")
    assert said.code == ExitCode.BAD
    lines = said.err.splitlines()
    assert lines[-3] == "2 runs failed:"
    assert set(lines[-2:]) == {
        "  sinusoid-k10 dies seed 0: its worker was lost 1 time (signal SIGKILL); the last checkpoint is kept",
        "  sinusoid-k10 fails seed 0: fails.py, line 10: RuntimeError: out of luck",
    }
    assert "sinusoid-k10 maml seed 0: testing on 6 tasks, 1-way 5-shot, 5 query" in lines
    assert {key: record.status for key, record in records().items()} == {("maml", 0): "ok", ("fails", 0): "failed"}
    assert {row["setup"] for row in json.loads(said.out)} == {"maml", "fails"}


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_stops_all_at_a_checkpoint_and_the_same_command_goes_on():
    environment = {**os.environ, "PYTHONPATH": str(Path(maml_bench.__file__).parents[1])}
    settings = ("--set", "outer.steps=400", "--set", "validation.every=400")
    line = [sys.executable, "-m", "maml_bench", "run", "sinusoid-k10", *RUN, *settings, "--seeds", "0,1", "-j", "2"]
    with subprocess.Popen(line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        begun = sorted(process.stderr.readline() for _ in range(2))
        assert begun == [f"sinusoid-k10 maml seed {seed}: 400 steps to go\n" for seed in (0, 1)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    lines = [line for line in err.splitlines() if line]  # a signal within a sentence is told on a line of its own
    assert lines[0].startswith("stopping after this step")
    assert all("stopped at step" in line and "the same command continues from there" in line for line in lines[-2:])
    assert [path.suffix for path in Path("runs").rglob("*") if path.is_file()] == [".ckpt"] * 2
    again = subprocess.run(line, env=environment, text=True, capture_output=True, check=True, timeout=120)
    assert again.stderr.count("resuming from step") == 2
    assert {r.seed: (r.whole, r.segments) for _, r in load_all(Path("runs"))} == {
        0: (True, 2),
        1: (True, 2),
    }


def test_one_display_shows_all_that_run(monkeypatch):
    shown = Console(file=io.StringIO(), force_terminal=True, width=160, highlight=False)
    monkeypatch.setattr(progress, "console", lambda *, stderr=False: shown)
    with progress.Bars() as bars:
        first, second = (bars.beside(f"waves seed {seed}") for seed in (0, 1))
        for seed, bar in enumerate((first, second)):
            bar.started(f"waves seed {seed}", 0, 100)
        second.tested(1, 5)
        first.started("waves seed 0", 40, 100)
        assert sorted((task.description, task.completed) for task in bars._progress.tasks) == [
            ("waves seed 0", 40),
            ("waves seed 1", 0),
            ("waves seed 1: testing", 1),
        ]
        first.done()
        assert [task.description for task in bars._progress.tasks] == ["waves seed 1", "waves seed 1: testing"]
        second.said("half of it")
        assert "waves seed 1: half of it" in shown.file.getvalue()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--jobs", "2", "--executor-set", "retires=5"], "executor 'processes' has no key 'retires' (did you mean"),
        (["--executor-set", "retries=5"], "the option 'retries' has no effect on one process: use --jobs N"),
        (
            ["--jobs", "2", "--executor-set", "retries=-1"],
            "executor 'processes': retries is -1, but must be at least 0",
        ),
        (["--jobs", "2", "--executor-set", "retries"], "--executor-set 'retries' must read key=value, such as retries"),
        (["--executor", "proceses"], "no executor 'proceses' (did you mean 'processes'?)"),
        (["--executor-options", "none.toml"], "--executor-options none.toml cannot be read: No such file"),
    ],
)
def test_bad_options_are_one_sentence_before_anything_runs(command, arguments, sentence):
    said = command("run", "sinusoid-k10", *RUN, *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1
    assert not list(Path().iterdir())


def test_options_from_a_file_and_over_them_those_of_the_command(command):
    Path("here.toml").write_text("retries = 7\ncheckpoint_s = -1\n")
    said = command("run", "sinusoid-k10", *RUN, "--jobs", "2", "--executor-options", "here.toml")
    assert said.err == "error: executor 'processes': checkpoint_s is -1, but must be at least 0\n"
    said = command("run", "sinusoid-k10", *RUN, "-j", "2", "--executor-options", "here.toml", "--executor-set", "a=1")
    assert said.err.startswith("error: executor 'processes' has no key 'a' (known:")
