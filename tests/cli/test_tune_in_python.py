"""``maml_bench.tune``: the same searches as those of the command, as values of Python."""

import json
import tomllib
from pathlib import Path

import pytest

import maml_bench
from benchmarks.hostility.calls import TINY
from maml_bench import MamlBenchError
from maml_bench.harness.run_state import Silent
from maml_bench.record_files import load_all
from maml_bench.setups.maml import MAML

SMALL = {text.partition("=")[0]: tomllib.loads(f"value = {text.partition('=')[2]}")["value"] for text in TINY}
RATE = {"inner.rate": "0.001..0.1:log"}


@pytest.fixture
def tune():
    """Tiny searches on sinusoids."""

    def tune(ranges=RATE, **more):
        return maml_bench.tune(
            "sinusoid-k10", ranges, **{"preset": "smoke", "set": SMALL, "trials": 3, "threads": 1, **more}
        )

    return tune


def trials_of(search):
    return [{**vars(trial), "train_s": None} for trial in search.trials]


def test_every_setup_is_searched_and_its_best_values_are_run_with_every_seed(tune):
    found = tune(setup=["maml", "reptile"], seeds=[1, 0])
    assert [one.search.setup for one in found] == ["maml", "reptile"]
    for one in found:
        assert len(one.search.done) == 3
        assert one.best == one.search.winner.values
        assert [record.seed for record in one.records] == [1, 0]
        for record in one.records:
            assert record.whole
            assert record.evaluations
            assert record.recipe["inner"]["rate"] == one.best["inner.rate"]
            assert record.tuned[0].trials == 3
    assert len(list(load_all(Path("runs")))) == 4


def test_it_makes_the_search_of_the_command(tune, command):
    """The second of the two finds all trials and runs there."""
    [found] = tune({**RATE, "inner.steps": "1..3", "outer.decay": ["constant", "cosine"]})
    words = [word for text in TINY for word in ("--set", text)]
    for text in ("inner.rate=0.001..0.1:log", "inner.steps=1..3", "outer.decay=constant|cosine"):
        words += ["--set", text]
    said = command(
        "tune", "sinusoid-k10", "--preset", "smoke", "--threads", "1", *words, "--trials", "3", "--no-report", "--json"
    )
    assert said.err.startswith("sinusoid-k10 maml: 3 trials are there already\n")
    content = json.loads(said.out)
    assert content["searches"][0]["trials"] == [vars(trial) for trial in found.search.trials]
    assert {row["path"] for row in content["runs"]} == {found.records[0].relative_path.as_posix()}


def test_more_trials_go_on_from_those_that_are_there(tune):
    [first], [more] = tune(trials=2), tune(trials=4)
    assert trials_of(more.search)[:2] == trials_of(first.search)
    assert len(more.search.trials) == 4


def test_the_observer_is_told_of_trials_and_runs(tune):
    class Listener(Silent):
        def __init__(self):
            self.titles = []

        def started(self, title, step, steps):
            self.titles.append((title, steps))

    listener = Listener()
    tune(trial_steps=6, seeds=5, observer=listener)
    assert listener.titles == [("sinusoid-k10 maml seed 0", 6)] * 3 + [("sinusoid-k10 maml seed 5", 12)]


def test_a_best_value_at_an_edge_is_named(tune):
    [found] = tune({"inner.rate": "0.1..0.10001"}, trials=1)
    assert [one.key for one in found.at_edge] == ["inner.rate"]


def test_where_no_trial_has_a_score_there_are_no_best_values(tune):
    [found] = tune({"outer.rate": [1e17, 1e18]}, trials=2)
    assert (found.best, found.records, found.at_edge) == (None, [], [])
    assert {trial.status for trial in found.search.trials} == {"diverged"}


def test_a_setup_of_ones_own_can_be_a_class(tune):
    class Mine(MAML):
        """Nothing else."""

    [found] = tune(setup=Mine, trials=1)
    assert found.records[0].recipe["setup"]["name"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"ranges": {}}, "there is nothing to search: give a key a range"),
        ({"ranges": {"inner.rate": "0.1"}}, r"ranges\['inner.rate'\] is '0.1', but must be a range such as"),
        ({"ranges": {"inner.rate": 0.1}}, r"ranges\['inner.rate'\] is 0.1, but must be a text such as"),
        ({"ranges": {"inner.rate": [0.1]}}, "a list of at least two choices"),
        ({"ranges": {"inner.rate": [0.1, None]}}, r"ranges\['inner.rate'\] has a choice that cannot be the value"),
        ({"ranges": {"outer.decay": ["a|b", "c"]}}, r"has a choice with '\|' in it"),
        ({"ranges": {"inner.rate": [0.1, 0.1]}}, "has the choice 0.1 twice"),
        ({"ranges": {"inner.rat": "0.1..0.2"}}, r"has no key 'rat' \(did you mean 'rate'"),
        ({"ranges": {"validation.shot": "1..2"}}, "validation.shot cannot be searched"),
        ({"set": SMALL | {"inner.rate": 0.1}}, "inner.rate is given twice"),
        ({"setup": "mmal"}, "did you mean 'maml'"),
        ({"seeds": [0, -1]}, "seed -1 must be a whole number"),
        ({"search_seed": -1}, "seed -1 must be a whole number"),
        ({"trials": 0}, "trials is 0, but must be a whole number of at least 1"),
        ({"trials": 2.0}, "trials is 2.0, but must be a whole number of at least 1"),
        ({"trial_steps": 0}, "trial_steps is 0, but must be a whole number of at least 1"),
        ({"trial_steps": 13}, "13 is more than the 12 outer steps of recipe 'sinusoid-k10'"),
        ({"device": "nowhere"}, "no device 'nowhere'"),
    ],
)
def test_wrong_input_is_one_sentence_and_nothing_is_written(arguments, sentence, tune):
    with pytest.raises(MamlBenchError, match=sentence):
        tune(**arguments)
    assert not list(Path().rglob("*.json"))


def test_a_text_with_two_points_is_no_range_in_set(tune):
    """`set` fixes keys, whatever its texts look like."""
    with pytest.raises(MamlBenchError, match=r"outer.decay"):
        tune(set=SMALL | {"outer.decay": "constant|cosine"})
