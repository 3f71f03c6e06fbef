"""The runs of a suite: which they are, and how far each of them is."""

from collections import Counter
from dataclasses import replace

import pytest

from maml_bench import suites
from maml_bench.api.reading import paper_cells
from maml_bench.errors import MamlBenchError, Notice
from maml_bench.harness import machine, preflight
from maml_bench.harness import suite as module
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import run
from maml_bench.harness.suite import Entry, entries, standings
from maml_bench.suites import Cell, Part, Suite, suite_names

WAVES = Suite(
    "Waves",
    (Cell("sinusoid-k10", "K = 10"),),
    (
        Part("smoke", ("*",), ("fomaml", "maml"), (0,)),
        Part("smoke", ("*", "quickstart"), ("*",), (0, 1)),
        Part("quick", ("*",), ("maml",), (0,)),
    ),
)


@pytest.fixture
def waves(monkeypatch):
    """A suite of sinusoids in place of the shipped ones."""
    monkeypatch.setattr(suites, "suite", lambda name: WAVES)


@pytest.fixture
def runs(tiny):
    """Three runs of milliseconds."""
    return [Entry(tiny(setup=setup), 0) for setup in ("maml", "fomaml", "scratch")]


def names(found):
    return [(entry.recipe.id, entry.recipe.setup["name"], entry.seed) for entry in found]


@pytest.mark.parametrize(
    ("name", "preset"),
    [(name, preset) for name in suite_names() for preset in {part.preset: 0 for part in suites.suite(name).parts}],
)
def test_shipped_suites_hold_each_run_once_and_no_setup_that_the_tasks_do_not_serve(name, preset):
    found = entries(name, preset)
    assert len(set(names(found))) == len(found)
    assert "oracle" not in {entry.recipe.setup["name"] for entry in found}
    assert "maml" in {entry.recipe.setup["name"] for entry in found}
    cells = suites.suite(name).cells
    assert len({cell.column for cell in cells}) == len(cells)
    assert {cell.recipe for cell in cells} <= {entry.recipe.id for entry in found}


def test_table1_runs_what_the_paper_reports_in_its_table_1():
    """Every published number of Table 1 stands in a recipe with its setup, so the recipes say what the suite needs."""
    found = entries("table1", "paper")
    runs = {(entry.recipe.id, entry.recipe.setup["name"]) for entry in found}
    problems = {cell.recipe for cell in suites.suite("table1").cells}
    reported = {
        (cell.recipe, cell.setup)
        for cell in paper_cells()
        if cell.published["source"].endswith("Finn et al. 2017, Table 1")
        and cell.recipe.removesuffix("-mlp") in problems
    }
    assert reported <= runs
    ours = {run for run in runs if not run[0].endswith("-text")}
    beside = {setup for _, setup in ours - reported}
    assert beside == {"matching", "mann"}, "whose numbers on Omniglot are quoted by MAML, mann's from another test"
    assert {setup for recipe, setup in runs if recipe.endswith("-text")} == {"maml"}
    seeds = Counter((entry.recipe.id, entry.recipe.setup["name"]) for entry in found)
    assert {seeds[recipe, "maml"] for recipe in problems} == {3}


def test_a_run_that_two_parts_name_stands_where_the_first_names_it(waves):
    found = names(entries("waves", "smoke"))
    assert found[:2] == [("sinusoid-k10", "fomaml", 0), ("sinusoid-k10", "maml", 0)]
    assert ("sinusoid-k10", "maml", 1) in found
    assert ("quickstart", "maml", 0) in found
    assert ("sinusoid-k10", "oracle", 0) in found
    assert names(entries("waves", "quick")) == [("sinusoid-k10", "maml", 0)]


def test_setups_recipes_and_seeds_narrow_it_down(waves):
    found = names(entries("waves", "smoke", setups=["maml"], recipes=["quickstart"], seeds=[5, 7]))
    assert found == [("quickstart", "maml", 5), ("quickstart", "maml", 7)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"preset": "papre"}, "suite 'waves' has no preset 'papre'"),
        ({"setups": ["mmal"]}, "no setup 'mmal' (did you mean 'maml'?)"),
        ({"recipes": ["sinusoid-k1"]}, "suite 'waves' has no recipe 'sinusoid-k1' (did you mean 'sinusoid-k10'?)"),
        ({"preset": "quick", "setups": ["anil"]}, "suite 'waves' has no run of setup 'anil' here (preset quick)"),
        ({"preset": "quick", "recipes": ["quickstart"]}, "has no run of recipe 'quickstart' here (preset quick)"),
    ],
)
def test_what_is_not_in_it_is_a_sentence(waves, arguments, sentence):
    with pytest.raises(MamlBenchError) as caught:
        entries("waves", **{"preset": "smoke", **arguments})
    assert sentence in str(caught.value)


def test_an_unknown_suite_is_a_sentence():
    with pytest.raises(MamlBenchError, match=r"no suite 'imags' \(did you mean 'images'\?\)"):
        entries("imags", "quick")


def test_nothing_done_is_all_to_do_in_the_order_of_the_suite(runs, options):
    found = standings(runs, options)
    assert [(run.state, run.step, run.train_s, run.problem) for run in found] == [("to do", 0, 0.0, None)] * 3
    assert [run.entry for run in found] == runs


def test_done_begun_and_failed_runs_are_told_from_what_lies_there(runs, options):
    first = run(runs[0].recipe, 0, replace(options, budget_steps=11))
    done = run(runs[2].recipe, 0, options)
    maml, fomaml, scratch = standings(runs, options)
    assert (maml.state, maml.step, maml.steps) == ("begun", 11, 12)
    assert maml.train_s == pytest.approx(first.record.train_s, rel=1e-6)
    assert fomaml.state == "to do"
    assert (scratch.state, scratch.path, scratch.train_s) == ("done", done.path, done.record.train_s)
    run(runs[0].recipe, 0, options)
    replace(done.record, status="failed", evaluations=[]).save(options.results)
    assert [standing.state for standing in standings(runs, options)] == ["done", "to do", "failed"]


def test_what_failed_before_comes_last(runs, options):
    failed = replace(run(runs[0].recipe, 0, options).record, status="failed", evaluations=[])
    failed.save(options.results)
    found = [(standing.entry.recipe.setup["name"], standing.state) for standing in standings(runs, options)]
    assert found == [("fomaml", "to do"), ("scratch", "to do"), ("maml", "failed")]


def test_another_machine_begins_anew(runs, options, monkeypatch):
    run(runs[0].recipe, 0, options)
    monkeypatch.setattr(machine, "identity", lambda device="cpu": "gpu00000")
    assert [standing.state for standing in standings(runs, options)] == ["to do"] * 3


def test_what_cannot_be_run_here_says_why(options, monkeypatch, tmp_path):
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "empty"))
    (found,) = standings([Entry(resolve("omniglot-5w1s", preset="smoke"), 0)], options)
    assert found.state == "not possible"
    assert "omniglot is not stored in" in found.problem


def test_how_far_the_runs_are_is_told_from_their_own_records_alone(tiny, options, runs, monkeypatch):
    """A folder with thousands of other records costs no time."""
    done = run(runs[0].recipe, 0, options)
    for seed in range(1, 5):
        replace(done.record, seed=seed).save(options.results)
    read = []
    real = module.load
    monkeypatch.setattr(module, "load", lambda path: read.append(path) or real(path))
    assert [one.state for one in standings(runs, options)].count("done") == 1
    assert read == [done.path]


def test_a_bad_record_of_a_suite_is_skipped(tiny, options, runs):
    path = run(runs[0].recipe, 0, options).path
    path.write_text("{")
    with pytest.warns(Notice, match="is not valid JSON"):
        assert [one.state for one in standings(runs, options)] == ["to do"] * 3


def test_a_run_whose_record_is_locked_is_running(options, runs):
    share = run(runs[0].recipe, 0, replace(options, budget_steps=11))
    with preflight.alone(share.path), preflight.alone(standings(runs, options)[1].path):
        found = standings(runs, options)
    assert [(one.state, one.step) for one in found] == [("running", 11), ("running", 0), ("to do", 0)]
    assert [one.state for one in standings(runs, options)] == ["begun", "to do", "to do"]


def test_where_several_machines_work_the_furthest_of_them_counts(options, runs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(machine, "identity", lambda device="cpu": "far00000")
        run(runs[0].recipe, 0, replace(options, budget_steps=5))
        path = run(runs[2].recipe, 0, options).path
    run(runs[0].recipe, 0, replace(options, budget_steps=11))
    found = standings(runs, options, machines=True)
    assert [(one.state, one.step) for one in found] == [("begun", 11), ("to do", 0), ("done", found[2].step)]
    assert found[2].path == path
    assert [one.state for one in standings(runs, options)] == ["begun", "to do", "to do"]
