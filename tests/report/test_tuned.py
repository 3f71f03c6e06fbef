"""Runs with values that a search found: every table, figure and page says so, and none counts as a reproduction."""

from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from record_factory import ACCURACY, PAPER, record

from maml_bench.record_search import TrialScore, Tuned
from maml_bench.report.aggregate import aggregate
from maml_bench.report.figures import selections
from maml_bench.report.flat_rows import flat_rows, search_in_words, trials
from maml_bench.report.page import page_data
from maml_bench.report.reproduction import Cell, reproduction, text
from maml_bench.report.suite_tables import counts
from maml_bench.report.tables import numbers, summary
from maml_bench.report.writing import write_tables

NUMBER = {**PAPER, "source": "Finn et al. 2017, Table 1"}
SEARCH = Tuned(
    search="omniglot-5w1s-paper-0123abcd-s0",
    trials=20,
    unsuccessful=2,
    seed=0,
    sampler="TPE of optuna 5.0.0",
    space=["inner.rate=0.1..1"],
    outer_steps=1500,
    winner=TrialScore(7, ["inner.rate=0.4"], 0.98, 1400, "ok"),
    neighbours=[
        TrialScore(3, ["inner.rate=0.41"], 0.97, 1500, "ok"),
        TrialScore(9, ["inner.rate=0.45"], None, None, "diverged"),
    ],
)


def tuned(*changed, search=SEARCH, **fields):
    one = record((0.98, 0.99), preset="paper", published=[NUMBER], tuned=[search], **fields)
    one.recipe["changed"] = list(changed)
    return one


ONE = tuned("outer.steps=1500", "inner.rate=0.4")
OWN = tuned()
"""The search found the values of the recipe itself."""


def test_the_row_says_in_how_many_trials_and_is_no_reproduction():
    [row] = summary([ONE]).to_dict("records")
    assert row["recipe"] == "omniglot-5w1s, changed: outer.steps=1500, inner.rate=0.4 (tuned, 20 trials)"
    assert row["verdict"] == "changed"
    cell = Cell("omniglot-5w1s", ONE.recipe_id, "maml", 1500, ACCURACY, NUMBER)
    assert text(reproduction([cell], [ONE]))["verdict"].tolist() == ["changed"]


def test_a_search_that_the_recipes_own_values_won_is_told_and_changes_nothing(tmp_path):
    """The values are those of the paper, so the run is a reproduction; the row says how many values they were compared
    with, as the rows of tuned setups do."""
    plain = replace(OWN, tuned=[])
    [row], [untold] = (summary([one]).to_dict("records") for one in (OWN, plain))
    assert row == untold | {"recipe": "omniglot-5w1s, own values won 20 trials"}
    assert row["verdict"] == "within (1 seed)"
    cell = Cell("omniglot-5w1s", OWN.recipe_id, "maml", 1500, ACCURACY, NUMBER)
    assert text(reproduction([cell], [OWN]))["verdict"].tolist() == ["within (1 seed)"]
    [flat] = flat_rows([(Path("a.json"), OWN)])
    assert (flat["changed"], flat["tuned"], flat["own_values_won"]) == ("", None, 20)
    assert numbers([OWN])["own_values_won"].tolist() == [20]
    assert "tuned" not in numbers([OWN])
    data = page_data([(Path("runs/a.json"), OWN)], Path("runs"))
    assert data["records"][0]["origin"]["changed keys"] == "none, own values won 20 trials"
    write_tables([OWN], tmp_path)
    assert f"the recipe's own values won: {search_in_words(SEARCH)}" in (tmp_path / "omniglot.md").read_text()


def test_own_values_beside_another_change_and_beside_a_search_that_changed_something():
    steps = tuned("outer.steps=200")
    [row] = summary([steps]).to_dict("records")
    assert row["recipe"] == "omniglot-5w1s, changed: outer.steps=200, own values won 20 trials"
    other = replace(SEARCH, search="another", trials=5, space=["outer.rate=0.1..1"])
    both = replace(tuned("outer.rate=0.4"), tuned=[SEARCH, other])
    [row] = summary([both]).to_dict("records")
    assert row["recipe"] == "omniglot-5w1s, changed: outer.rate=0.4 (tuned, 5 trials), own values won 20 trials"
    [group] = aggregate([both])
    assert group.change == "nothing else (outer.rate tuned, 5 trials)"


def test_one_tuned_seed_marks_the_row_and_the_trials_of_several_searches_add_up():
    plain = replace(ONE, seed=1, tuned=[])
    [group] = aggregate([ONE, plain])
    assert (group.trials, group.seeds) == (20, (0, 1))
    again = replace(SEARCH, trials=30)
    other = replace(SEARCH, search="another", trials=5)
    assert trials([ONE, replace(ONE, tuned=[again, other])]) == 35
    assert aggregate([plain])[0].changed == "outer.steps=1500, inner.rate=0.4"


def test_no_suite_takes_it():
    """But one whose own values won is as good as one that was never searched."""
    assert [counts(one) for one in (ONE, OWN, replace(OWN, tuned=[]))] == [False, True, True]


def test_files_and_rows_have_the_number_and_the_neighbours(tmp_path):
    write_tables([ONE, replace(ONE, seed=1)], tmp_path)
    page = (tmp_path / "omniglot.md").read_text()
    told = [line for line in page.splitlines() if "20 trials, 2 of them without a score" in line]
    assert told == [f"- omniglot-5w1s, maml, paper, #{ONE.recipe_id}: {search_in_words(SEARCH)}"]
    for words in ("inner.rate=0.41: validation 0.97", "inner.rate=0.45: diverged", "inner.rate=0.1..1", SEARCH.search):
        assert words in told[0]
    assert pd.read_csv(tmp_path / "omniglot.csv")["tuned"].tolist() == [20]
    assert "tuned" not in numbers([replace(ONE, tuned=[])])
    rows = flat_rows([(Path("a.json"), ONE), (Path("b.json"), replace(ONE, tuned=[]))])
    assert [row["tuned"] for row in rows] == [20, None]


def test_the_page_says_so():
    data = page_data([(Path("runs/a.json"), ONE), (Path("runs/b.json"), replace(OWN, tuned=[]))], Path("runs"))
    origin, untuned = (one["origin"] for one in data["records"])
    assert origin["changed keys"] == "outer.steps=1500, inner.rate=0.4 (tuned, 20 trials)"
    assert origin["tuned"] == search_in_words(SEARCH)
    assert (untuned["changed keys"], untuned["tuned"]) == ("none", "no")
    assert [row["tuned"] for row in data["rows"]] == [20, None]


def test_a_figure_shows_setups_together_that_were_tuned_alike():
    """Each has values of its own, so their changed settings differ, but the keys and the number of trials do not."""
    reptile = tuned("outer.steps=1500", "inner.rate=0.7", setup="reptile", recipe_id="eeeeeeee")
    fewer = tuned("inner.rate=0.5", setup="anil", recipe_id="ffffffff", search=replace(SEARCH, trials=3))
    [selection] = selections([ONE, reptile, fewer])
    assert list(selection.groups) == ["maml", "reptile"]
    assert "these runs have other settings: outer.steps=1500 (inner.rate tuned, 20 trials)." in selection.rule()
    assert "Not shown: anil (1,500 steps, seed 0, changed: inner.rate=0.5 (tuned, 3 trials))." in selection.rule()
    [plain] = selections([ONE, record(preset="paper")])
    assert [group.trials for group in plain.groups.values()] == [0]


def test_a_score_that_leaves_out_tasks_says_so():
    lost = replace(SEARCH.neighbours[0], nonfinite=3)
    told = search_in_words(replace(SEARCH, neighbours=[lost]))
    assert "inner.rate=0.41: validation 0.97 without 3 tasks that are not finite (" in told


def test_a_search_of_one_trial_has_no_neighbours():
    assert "nearest to it: none" in search_in_words(replace(SEARCH, trials=1, neighbours=[]))
    assert asdict(SEARCH)["winner"]["number"] == 7
