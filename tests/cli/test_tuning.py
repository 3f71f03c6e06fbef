"""``maml-bench tune``: what it says, prints and leaves, and how it ends."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.hostility.calls import TINY
from maml_bench.core import outer as outer_module
from maml_bench.record_files import load_all
from maml_bench.tasks.sinusoid import Sinusoid

from .test_interrupting import interrupt_at
from .test_running import fail

LINE = ("tune", "sinusoid-k10", "--preset", "smoke", "--threads", "1", *(w for s in TINY for w in ("--set", s)))
RATE = ("--set", "inner.rate=0.001..0.1:log")


def records():
    return {(r.recipe["setup"]["name"], r.seed): r for _, r in load_all(Path("runs"))}


def files():
    return sorted(Path("runs/tuning").rglob("*-s[0-9].json"))


def test_every_setup_gets_as_many_trials_and_the_best_are_run_whole(command):
    said = command(*LINE, *RATE, "--setup", "maml", "--setup", "reptile", "--trials", "3", "--seeds", "0,1")
    assert said.code == 0
    assert set(records()) == {(setup, seed) for setup in ("maml", "reptile") for seed in (0, 1)}
    for (setup, _), record in records().items():
        assert record.whole
        assert record.evaluations
        [search] = record.tuned
        assert (search.trials, search.space) == (3, ["inner.rate=0.001..0.1:log"])
        assert search.winner.settings[0] in record.recipe["changed"]
        assert f"{search.search}.json" in {path.name for path in files() if setup in path.parts}
    lines = said.err.splitlines()
    assert re.fullmatch(
        r"sinusoid-k10 maml trial 1 of 3: inner.rate=0.0\d+: validation [\d.]+ \(the best so far\); about [\d,]+ s "
        "left",
        lines[0],
    )
    assert [line.split(":")[0] for line in lines[:6]] == [
        f"sinusoid-k10 {setup} trial {number} of 3" for setup in ("maml", "reptile") for number in (1, 2, 3)
    ]
    assert "left" not in lines[2]
    tables = said.out.split("\n\n")
    assert tables[0].startswith("sinusoid-k10 maml, smoke preset: 3 trials of 12 outer steps\ntrial  inner.rate")
    scores = [float(line.split()[2]) for line in tables[0].splitlines()[2:]]
    assert scores == sorted(scores)
    assert len(scores) == 3
    assert re.search(r"sinusoid-k10, changed: .*inner\.rate=0\.0\d+ \(tuned, 3 trials\)", said.out)


def test_no_test_task_is_drawn_before_all_searches_are_over(command, monkeypatch):
    done, real = [], Sinusoid.sample

    def sample(self, split, *arguments, **more):
        if split == "test" and not done:
            done.extend(len(json.loads(path.read_text())["trials"]) for path in files())
        return real(self, split, *arguments, **more)

    monkeypatch.setattr(Sinusoid, "sample", sample)
    assert command(*LINE, *RATE, "--setup", "maml", "--setup", "fomaml", "--trials", "2", "--no-report").code == 0
    assert done == [2, 2]


def test_the_same_command_repeats_nothing_and_json_has_every_trial(command):
    line = (*LINE, *RATE, "--trials", "2", "--no-report")
    command(*line)
    before = files()[0].read_bytes()
    said = command(*line, "--json")
    assert (said.code, files()[0].read_bytes()) == (0, before)
    assert said.err.startswith("sinusoid-k10 maml: 2 trials are there already\n")
    content = json.loads(said.out)
    [search] = content["searches"]
    assert {**json.loads(before), "winner": search["winner"]} == search
    assert search["winner"] in (1, 2)
    assert {(row["setup"], row["tuned"]) for row in content["runs"]} == {("maml", 2)}


def test_ctrl_c_in_a_trial_and_in_a_run_at_the_end(command, monkeypatch):
    """Twelve steps a trial: the 17th is in the second of two, the 29th in the run that follows."""
    line = (*LINE, *RATE, "--trials", "2", "--no-report")
    whole = command(*line, "--results", "whole", "--json")
    for step, told in ((17, "sinusoid-k10 maml: stopped with 1 of 2 trials"), (12, "seed 0: stopped at step 5")):
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            said = command(*line)
        assert said.code == 130
        assert said.err.splitlines()[-1].endswith(f"{told}; the same command continues from there")
        assert records() == {}
    said = command(*line, "--json")
    assert said.code == 0
    assert "resuming from step 5 of 12" in said.err
    trials = [json.loads(one)["searches"][0]["trials"] for one in (whole.out, said.out)]
    for trial in (trial for of_one in trials for trial in of_one):
        del trial["train_s"]
    assert trials[0] == trials[1]


def test_a_best_value_at_an_edge_is_told(command):
    said = command(*LINE, "--set", "inner.rate=0.1..0.10001", "--trials", "1", "--no-report")
    assert (
        "sinusoid-k10 maml: the best value, inner.rate=0.1, is at the edge of the range 0.1..0.10001: widen the range\n"
        in said.err
    )


@pytest.mark.parametrize(("how", "code"), [("diverged", 4), ("failed", 1)])
def test_a_search_without_a_score_runs_nothing(how, code, command, monkeypatch):
    if how == "failed":
        monkeypatch.setattr(outer_module, "meta_gradient", fail)
    said = command(*LINE, "--set", "outer.rate=1e17|1e18", "--trials", "2", "--json")
    assert said.code == code
    assert "trial 1 of 2: outer.rate=1" in said.err
    assert f": {how}, " in said.err
    assert "sinusoid-k10 maml: no trial has a validation score, so there are no best values to run\n" in said.err
    assert {trial["status"] for trial in json.loads(said.out)["searches"][0]["trials"]} == {how}
    assert records() == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "there is nothing to search: give a key a range"),
        ((*RATE, "--trials", "0"), "should be greater than or equal to 1"),
        ((*RATE, "--trials", "1001"), "should be less than or equal to 1000"),
        ((*RATE, "--setup", "mmal"), "no setup 'mmal' (did you mean 'maml'?)"),
        ((*RATE, "--seeds", "1-"), "--seeds '1-' must be whole numbers"),
        ((*RATE, "--preset", "smok"), "has no preset 'smok' (did you mean 'smoke'?)"),
        (("--set", "inner.rat=0.1..0.2"), "has no key 'rat' (did you mean 'rate'?)"),
        ((*RATE, "--device", "nowhere"), "no device 'nowhere'"),
    ],
)
def test_wrong_input_is_one_sentence_and_nothing_is_written(words, sentence, command):
    said = command(*LINE, *words)
    assert (said.code, said.out) == (2, "")
    assert sentence in " ".join(said.err.replace("│", " ").split())
    assert not list(Path("runs").rglob("*.json"))


def test_records_and_show_and_the_page_say_that_it_was_tuned(command):
    command(*LINE, *RATE, "--trials", "3")
    [(path, record)] = load_all(Path("runs"))
    head, row, *_ = command("records").out.splitlines()[1:]
    assert row.split()[head.split().index("tuned")] == "3"
    shown = " ".join(command("show", str(path)).out.split())
    for words in (
        "tuned 1 3 trials, each of 12 outer steps, with seed 0 by TPE of optuna",
        "nearest to it: inner.rate=",
    ):
        assert words in shown
    assert "(tuned, 3 trials)" in Path("runs/report.html").read_text()
    assert "Tuned on validation:\n\n- sinusoid-k10, maml, smoke" in Path("runs/tables/sinusoid.md").read_text()
    assert record.tuned[0].search in Path("runs/tables/sinusoid.md").read_text()
