"""``maml-bench evaluate``: weights from a file, and what it says of those that do not fit."""

import io
import json
import os
import re
import signal
from pathlib import Path

import pytest
import safetensors.torch
from rich.console import Console

from maml_bench.cli import progress
from maml_bench.core import evaluate as core
from maml_bench.harness import meta_test, weights
from maml_bench.record_files import load_all

from .conftest import RUN, TINY

SETTINGS = ("--threads", "1", *(word for text in TINY for word in ("--set", text)))
EVALUATE = ("--preset", "smoke", *SETTINGS)


def files():
    """Weights in the working folder's ``runs``, the last first."""
    return sorted(Path("runs/weights").rglob("*.safetensors"), key=lambda path: len(path.name))


@pytest.fixture
def trained(results, two_runs):
    """The results of two tiny runs, maml's last weights."""
    return next(path for path in files() if path.parent.name == "maml")


def test_a_run_is_scored_again_from_its_weights_to_the_bit(command, trained):
    said = command("evaluate", "sinusoid-k10", "--weights", trained, *EVALUATE)
    assert said.code == 0
    by_kind = {(r.kind, r.recipe["setup"]["name"]): r for _, r in load_all(Path("runs"))}
    given, run = by_kind["evaluation", "maml"], by_kind["run", "maml"]
    assert [e.points for e in given.evaluations] == [e.points for e in run.evaluations]
    lines = said.err.splitlines()
    assert lines[0] == (
        f"weights {trained} ({given.weights_id}): recipe sinusoid-k10, setup maml, preset smoke, seed 0, step 12"
    )
    assert lines[1] == "testing on 6 tasks, 1-way 5-shot, 5 query"
    assert lines[-1].startswith(f"sinusoid-k10 maml, weights {given.weights_id}: tested (runs/records/sinusoid/maml/")
    assert f"weights {given.weights_id}" in re.sub(r"\s+", " ", said.out)


def test_rows_say_that_weights_were_given(command, trained):
    said = command("evaluate", "sinusoid-k10", "--weights", trained, *EVALUATE, "--json")
    rows = json.loads(said.out)
    assert [row["inner_steps"] for row in rows] == [0, 1]
    assert {(row["kind"], row["checkpoint"], row["train_s"], row["outer_steps"]) for row in rows} == {
        ("evaluation", "given", 0, 0)
    }
    assert rows[0]["weights"] == weights.load(trained).sha256[:8]
    assert rows[0]["checkpoint_steps"] == [12]


def test_the_setup_is_that_of_the_weights_unless_one_is_named(command):
    command("run", "sinusoid-k10", *RUN, "--setup", "meta_sgd")
    last = files()[0]
    arguments = ("evaluate", "sinusoid-k10", "--weights", last, *EVALUATE, "--json")
    assert {row["setup"] for row in json.loads(command(*arguments).out)} == {"meta_sgd"}
    other = command(*arguments, "--setup", "maml")
    assert (other.code, other.out) == (2, "")
    assert "have a tensor 'rate.body.1.bias' that maml on sinusoid-k10 does not have" in other.err


def test_several_files_are_an_ensemble_with_options(command, trained):
    best = [path for path in files() if path.parent.name == "maml" and "best" in path.name]
    words = [word for path in best for word in ("--weights", path)]
    rows = json.loads(command("evaluate", "sinusoid-k10", *words, *EVALUATE, "--json", "--episodes", "3").out)
    assert {(row["checkpoint"], row["episodes"]) for row in rows} == {("ensemble", 3)}
    assert len(rows[0]["checkpoint_steps"]) == len(best) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--preset", "papre"], "recipe 'sinusoid-k10' has no preset 'papre'"),
        (["--protocol", "moden"], "no protocol 'moden' (did you mean 'modern'?)"),
        (["--protocol", "modern"], "recipe 'sinusoid-k10' has no protocol 'modern'"),
        (["--normalisation", "suport"], "no normalisation 'suport' (did you mean 'support'?)"),
        (["--setup", "mmal"], "no setup 'mmal' (did you mean 'maml'?)"),
        (["--weights", "nowhere.safetensors"], "weights nowhere.safetensors cannot be read: No such file"),
        (["--weights", "other.safetensors"], "weights other.safetensors lack the tensor 'body.1.weight' of maml on "
         "sinusoid-k10 (did you mean 'body.0.weight'?)"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_no_record(command, trained, change, sentence):
    tensors = safetensors.torch.load_file(trained)
    safetensors.torch.save_file({"body.0.weight": tensors["body.1.weight"]}, "other.safetensors")
    before = sorted(Path("runs").rglob("*"))
    given = [] if change[0] == "--weights" else ["--weights", trained]
    said = command("evaluate", "sinusoid-k10", *given, *EVALUATE, *change)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1
    assert sorted(Path("runs").rglob("*")) == before


def test_a_failure_is_told_and_exits_with_one(command, trained, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(meta_test, "score_test", fail)
    said = command("evaluate", "sinusoid-k10", "--weights", trained, *EVALUATE)
    assert said.code == 1
    assert "failed, RuntimeError: out of luck" in said.err
    assert "Traceback" not in said.err


def test_ctrl_c_leaves_no_record(command, trained, monkeypatch):
    real = core.predictors

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments, **options)

    monkeypatch.setattr(core, "predictors", interrupted)
    said = command("evaluate", "sinusoid-k10", "--weights", trained, *EVALUATE)
    assert said.code == 130
    assert "stopping; nothing is written" in said.err
    assert {record.kind for _, record in load_all(Path("runs"))} == {"run"}


def test_a_bar_counts_the_tasks_that_are_tested(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", lambda *, stderr=False: Console(file=out, force_terminal=True))
    with progress.Bars() as bars:
        bars.tested(3, 6)
        [task] = bars._progress.tasks
        assert (task.description, task.completed, task.total) == ("testing", 3, 6)
        bars.tested(6, 6)
        assert bars._progress.tasks == []
        bars.tested(1, 6)
        bars.done()
        assert bars._progress.tasks == []


def test_a_run_tells_of_a_protocol_that_is_not_there_before_it_begins(command):
    said = command("run", "sinusoid-k10", *RUN, "--protocol", "paper", "--protocol", "modern")
    assert (said.code, Path("runs").exists()) == (2, False)
    assert said.err == "error: recipe 'sinusoid-k10' has no protocol 'modern', which is for classification alone\n"


def test_a_finished_run_is_asked_for_its_tests_again(command, monkeypatch):
    command("run", "sinusoid-k10", *RUN)
    assert command("run", "sinusoid-k10", *RUN, "--protocol", "paper").err.startswith(
        "sinusoid-k10 maml seed 0: already there"
    )
