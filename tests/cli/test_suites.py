"""``maml-bench suite``: a table run in pieces, the status of its runs, and the list of suites."""

import json
from pathlib import Path

import pytest

import maml_bench.api.reading  # noqa: F401, so that reports have taken hold of the shipped suites before a test replaces them
from maml_bench import suites
from maml_bench.core import outer as outer_module
from maml_bench.harness.run_state import RunState
from maml_bench.record_files import load_all
from maml_bench.suites import Cell, Part, Suite

from .test_interrupting import interrupt_at
from .test_running import fail

WAVES = Suite(
    "Waves", (Cell("sinusoid-k10", "K = 10"),), (Part("smoke", ("*",), ("scratch", "fomaml", "maml"), (0, 1)),)
)
SHIPPED = suites.suite
LINE = ("suite", "waves", "--preset", "smoke", "--threads", "1")
RUN = ["recipe", "setup", "seed", "recipe_id", "state", "step", "steps", "train_s", "problem", "path"]


@pytest.fixture(autouse=True)
def waves(monkeypatch):
    """A suite of sinusoids in place of the shipped ones: three setups, two seeds, twenty steps."""
    monkeypatch.setattr(suites, "suite", lambda name: WAVES)


def records():
    return {(r.recipe["setup"]["name"], r.seed): r for _, r in load_all(Path("runs"))}


def status(command, *arguments):
    said = command(*LINE, "--status", "--json", *arguments)
    assert said.code == 0
    return json.loads(said.out)


def test_the_status_runs_nothing_and_lists_what_there_is_to_do(command):
    said = command(*LINE, "--status")
    assert said.code == 0
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        ["sinusoid-k10", setup, seed, "to", "do", "0", "of", steps]
        for setup, steps in (("scratch", "0"), ("fomaml", "20"), ("maml", "20"))
        for seed in "01"
    ]
    assert said.err == "waves, smoke preset: 0 of 6 runs done, 6 to do\n"
    assert records() == {}


def test_the_status_as_json(command):
    found = status(command)
    assert (found["suite"], found["preset"]) == ("waves", "smoke")
    assert [list(run) for run in found["runs"]] == [RUN] * 6
    first = found["runs"][0]
    assert (first["setup"], first["seed"], first["state"], first["steps"]) == ("scratch", 0, "to do", 0)
    assert (first["train_s"], first["problem"]) == (0.0, None)


def test_the_former_option_names_the_one_that_took_its_place(command):
    said = command(*LINE, "--plan")
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: suite has no option --plan; `maml-bench suite waves --status` lists what is left\n"


def test_progress_says_which_run_of_how_many(command):
    said = command(*LINE, "--no-report", "--setup", "scratch")
    told = [line for line in said.err.splitlines() if line.startswith("run ")]
    assert told == [f"run {n} of 2: sinusoid-k10 scratch seed {seed}" for n, seed in ((1, 0), (2, 1))]


def test_a_suite_is_run_reported_and_not_run_again(command):
    said = command(*LINE, "--json")
    assert said.code == 0
    assert len(records()) == 6
    assert all(record.whole for record in records().values())
    assert {(row["setup"], row["seed"]) for row in json.loads(said.out)} == set(records())
    assert list(Path("runs/tables").glob("sinusoid*.md"))
    assert said.err.splitlines()[-1].endswith(": 6 of 6 runs done")
    again = command(*LINE, "--no-report", "--json")
    assert (again.code, json.loads(again.out)) == (0, [])
    assert len(again.err.splitlines()) == 1
    assert {run["state"] for run in status(command)["runs"]} == {"done"}


def test_a_suite_comes_to_its_end_in_pieces(command, monkeypatch):
    """By a clock of 0.01 s a step, 0.09 s are over after seven steps: the next two might not fit."""
    monkeypatch.setattr(RunState, "train_s", property(lambda training: 0.01 * training.step))
    line = (*LINE, "--no-report", "--setup", "maml", "--seeds", "0")
    steps = []
    for _ in range(3):
        said = command(*line, "--budget", "0.09s")
        assert said.code == 0
        steps.append(records()["maml", 0].outer_steps)
    assert steps == [7, 14, 20]
    assert "1 of 1 runs done" in said.err
    assert (records()["maml", 0].segments, records()["maml", 0].whole) == (3, True)


def test_a_budget_is_that_of_the_whole_call(command, monkeypatch):
    monkeypatch.setattr(RunState, "train_s", property(lambda training: 0.01 * training.step))
    said = command(*LINE, "--no-report", "--setup", "maml", "--budget", "0.3s")
    assert said.code == 0
    assert {seed: record.outer_steps for (_, seed), record in records().items()} == {0: 20, 1: 8}


def test_ctrl_c_loses_nothing(command, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        said = command(*LINE, "--no-report", "--setup", "maml", "--seeds", "3")
    assert said.code == 130
    assert said.err.splitlines()[-1] == "stopped at step 5; the same command continues from there"
    said = command(*LINE, "--no-report", "--setup", "maml", "--seeds", "3")
    assert said.code == 0
    assert "resuming from step 5 of 20" in said.err
    assert set(records()) == {("maml", 3)}


def test_several_processes_run_what_is_left_of_a_suite(command):
    line = (*LINE, "--no-report", "--setup", "scratch", "--setup", "fomaml", "--seeds", "0")
    assert command(*LINE, "--no-report", "--setup", "scratch", "--seeds", "0").code == 0
    said = command(*line, "--jobs", "2", "--json")
    assert said.code == 0
    assert [row["setup"] for row in json.loads(said.out)] == ["fomaml"] * len(json.loads(said.out))
    assert "run 2 of 2: sinusoid-k10 fomaml seed 0" in said.err
    assert said.err.splitlines()[-1] == "waves, smoke preset: 2 of 2 runs done"


def test_what_fails_or_is_refused_does_not_keep_the_rest_from_running(command, monkeypatch):
    assert command(*LINE, "--no-report", "--setup", "maml").code == 0
    path = next(Path("runs").rglob("*-s0-*.json"))
    path.write_text(path.read_text().replace('"threads": 1', '"threads": 3'))
    with monkeypatch.context() as patch:
        patch.setattr(outer_module, "meta_gradient", fail)
        said = command(*LINE, "--no-report")
    assert said.code == 1
    assert "sinusoid-k10 maml seed 0: runs/records/" in said.err
    assert "was made with other threads (3, not 1)" in said.err
    assert "sinusoid-k10 fomaml seed 1: failed, RuntimeError: out of luck" in said.err
    assert records()["scratch", 1].whole
    found = status(command)["runs"]
    assert [run["state"] for run in found] == ["done"] * 4 + ["failed"] * 2


def test_setups_recipes_and_seeds_are_options(command):
    found = status(command, "--setup", "maml", "--setup", "fomaml", "--recipe", "sinusoid-k10", "--seeds", "7")
    assert [(run["setup"], run["seed"]) for run in found["runs"]] == [("fomaml", 7), ("maml", 7)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preset", "papr"], "suite 'waves' has no preset 'papr'"),
        (["--setup", "mmal"], "no setup 'mmal' (did you mean 'maml'?)"),
        (["--recipe", "sinusoid-k1"], "suite 'waves' has no recipe 'sinusoid-k1' (did you mean 'sinusoid-k10'?)"),
        (["--seeds", "x"], "--seeds 'x' must be whole numbers"),
        (["--budget", "10steps"], "--budget '10steps' of a suite must be a time such as 90s, 25m or 2h"),
        (["--budget", "soon"], "--budget 'soon' must be a time"),
        (["--device", "gpu"], "no device 'gpu'"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(command, arguments, sentence):
    said = command(*LINE[:2], *(() if "--preset" in arguments else LINE[2:4]), *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1
    assert not list(Path().iterdir())


def test_an_unknown_suite_is_one_sentence(command, monkeypatch):
    monkeypatch.setattr(suites, "suite", SHIPPED)
    said = command("suite", "imags")
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: no suite 'imags' (did you mean 'images'?)\n"


def test_missing_data_are_told_once_and_the_rest_is_run(command, monkeypatch):
    both = Suite("Both", WAVES.cells, (Part("smoke", ("*", "omniglot-5w1s"), ("scratch", "maml"), (0,)),))
    monkeypatch.setattr(suites, "suite", lambda name: both)
    said = command(*LINE, "--no-report")
    assert said.code == 0
    assert set(records()) == {("maml", 0), ("scratch", 0)}
    last = said.err.splitlines()[-1]
    assert last.startswith("not possible here, 2 runs of omniglot-5w1s: omniglot is not stored in ")


def test_list_names_the_suites(command, monkeypatch):
    monkeypatch.setattr(suites, "suite", SHIPPED)
    assert json.loads(command("list", "--json").out)["suites"] == [
        {"suite": name, "title": SHIPPED(name).title, "presets": presets}
        for name, presets in (("four_ways", "quick"), ("images", "quick, paper"), ("table1", "quick, paper"))
    ]
