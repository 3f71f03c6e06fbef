"""The plan of a suite: which runs, how far they are, what is left by the pace of this machine and of others."""

import json
from dataclasses import replace

import pytest

from maml_bench import suites
from maml_bench.errors import MamlBenchError
from maml_bench.harness import machine, paces, suite
from maml_bench.harness.paces import Pace
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import run
from maml_bench.harness.suite import Entry, entries, plan
from maml_bench.record import load
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


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Measurements as short as can be."""
    monkeypatch.setattr(paces, "MEASURE_S", 0.0)


@pytest.fixture
def waves(monkeypatch):
    """A suite of sinusoids in place of the shipped ones."""
    monkeypatch.setattr(suites, "suite", lambda name: WAVES)


@pytest.fixture
def work(tiny):
    """Three runs of milliseconds in two parts."""
    return [Entry(tiny(), 0, 1), Entry(tiny(setup="fomaml"), 0, 1), Entry(tiny(setup="scratch"), 0, 0)]


def pace(recipe, **fields) -> Pace:
    """A pace of ``recipe`` on this machine: 0.5 s a step, 0.01 s an example scored, 3 s to compile."""
    plain = {
        "work": paces.work_of(recipe.plain()), "recipe": recipe.id, "setup": recipe.setup["name"],
        "machine": machine.identity(), "name": "a processor", "device": "cpu", "threads": 1, "schedule": "vmap",
        "memory": "default", "step_s": 0.5, "score_s": 0.01, "compile_s": 3.0, "gflops": 100.0, "commit": "abc",
        "dirty": False, "at": "2026-01-01T00:00:00+00:00", "source": "measured",
    }  # fmt: skip
    return Pace(**{**plain, **fields})


def names(found):
    return [(entry.recipe.id, entry.recipe.setup["name"], entry.seed, entry.part) for entry in found]


@pytest.mark.parametrize("name", suite_names())
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_shipped_suites_hold_each_run_once_and_no_setup_that_the_tasks_do_not_serve(name, preset):
    found = entries(name, preset)
    assert len({key[:3] for key in names(found)}) == len(found)
    assert "oracle" not in {entry.recipe.setup["name"] for entry in found}
    assert {"maml", "scratch"} <= {entry.recipe.setup["name"] for entry in found}
    cells = suites.suite(name).cells
    assert len({cell.column for cell in cells}) == len(cells)
    assert {cell.recipe for cell in cells} <= {entry.recipe.id for entry in found}


def test_a_run_that_two_parts_name_belongs_to_the_first(waves):
    found = names(entries("waves", "smoke"))
    assert found[:2] == [("sinusoid-k10", "fomaml", 0, 0), ("sinusoid-k10", "maml", 0, 0)]
    assert ("sinusoid-k10", "maml", 1, 1) in found
    assert ("quickstart", "maml", 0, 1) in found
    assert ("sinusoid-k10", "oracle", 0, 1) in found
    assert names(entries("waves", "quick")) == [("sinusoid-k10", "maml", 0, 0)]


def test_setups_recipes_and_seeds_narrow_it_down(waves):
    found = names(entries("waves", "smoke", setups=["maml"], recipes=["quickstart"], seeds=[5, 7]))
    assert found == [("quickstart", "maml", 5, 1), ("quickstart", "maml", 7, 1)]


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


def test_work_is_what_a_step_does_and_not_how_many_there_are(tiny):
    quick, paper = (resolve("omniglot-5w1s", preset=preset).plain() for preset in ("quick", "paper"))
    assert paces.work_of(quick) == paces.work_of(paper)
    base = paces.work_of(tiny().plain())
    assert paces.work_of(tiny("outer.steps=99", "outer.rate=0.5", "validation.every=3").plain()) == base
    for other in (tiny("outer.meta_batch=3"), tiny("inner.steps=2"), tiny("train.shot=3"), tiny(setup="fomaml")):
        assert paces.work_of(other.plain()) != base


@pytest.mark.parametrize(
    ("step", "seconds"),
    # 12 steps of 0.5 s; validated at 0, 4, 8, 12 on 3 tasks of 1 x (10 x 1 + 10 x 1) examples; tested on 6 tasks of
    # 1 x (5 x 2 + 5 x 2) examples, 0.01 s each; 3 s to compile.
    [(0, 6 + 4 * 0.6 + 1.2 + 3), (3, 4.5 + 3 * 0.6 + 1.2 + 3), (4, 4 + 2 * 0.6 + 1.2 + 3), (12, 0 + 0 + 1.2 + 3)],
)
def test_the_projection_on_paper(tiny, step, seconds):
    recipe = tiny("validation.shot=10", "validation.query=10", "validation.inner_steps=1")
    assert suite.projected_s(recipe, step, pace(recipe)) == pytest.approx(seconds)


def test_an_ensemble_is_shown_its_examples_once_per_member(tiny):
    test = replace(tiny().test[0], way=5, shot=1, query=15)
    assert paces.examples(test, (0, 5), "last") == 5 * (1 * 5 + 15 * 2)
    assert paces.examples(test, (0, 5), "ensemble") == 5 * 5 * (1 * 5 + 15 * 2)


def test_a_plan_of_nothing_done_has_no_paces(work, options):
    planned = plan(work, options)
    assert [line.state for line in planned.lines] == ["to do"] * 3
    assert [line.entry.recipe.setup["name"] for line in planned.lines] == ["scratch", "maml", "fomaml"]
    assert (len(planned.open), len(planned.unmeasured), planned.left_s) == (3, 3, 0.0)
    assert [(line.left_s, line.train_left_s) for line in planned.lines] == [(None, None)] * 3
    assert planned.elsewhere == ()


def test_the_cheapest_comes_first_within_a_part(work, options, tiny):
    paces.save(options.results, pace(tiny(), step_s=2.0))
    paces.save(options.results, pace(tiny(setup="fomaml"), step_s=1.0))
    planned = plan(work, options)
    assert [line.entry.recipe.setup["name"] for line in planned.lines] == ["scratch", "fomaml", "maml"]
    assert planned.train_left_s == 12 * 3.0
    assert [line.entry.recipe.setup["name"] for line in planned.unmeasured] == ["scratch"]


def test_done_begun_and_failed_runs_are_told_from_what_lies_there(work, options, monkeypatch, tiny):
    first = run(work[0].recipe, 0, replace(options, budget_steps=11))
    done = run(work[2].recipe, 0, options)
    lines = {line.entry.recipe.setup["name"]: line for line in plan(work, options).lines}
    assert (lines["maml"].state, lines["maml"].step, lines["maml"].steps) == ("begun", 11, 12)
    assert lines["maml"].done_s == pytest.approx(first.record.train_s, rel=1e-6)
    assert lines["maml"].pace.source == "checkpoint"
    assert lines["maml"].train_left_s == pytest.approx(first.record.train_s / 11)
    assert (lines["scratch"].state, lines["scratch"].path, lines["scratch"].left_s) == ("done", done.path, 0.0)
    assert lines["fomaml"].state == "to do"
    run(work[0].recipe, 0, options)
    replace(done.record, status="failed", evaluations=[]).save(options.results)
    states = [(line.entry.recipe.setup["name"], line.state) for line in plan(work, options).lines]
    assert states == [("maml", "done"), ("fomaml", "to do"), ("scratch", "failed")]


def test_a_run_gives_the_pace_of_its_other_seeds(work, options):
    record = run(work[0].recipe, 0, options).record
    (line,) = plan([replace(work[0], seed=1)], options).lines
    assert (line.state, line.pace.source, line.pace.threads) == ("to do", "record", 1)
    assert line.pace.step_s == pytest.approx(record.train_s / 12)
    (line,) = plan([replace(work[0], seed=1)], replace(options, threads=2)).lines
    assert line.pace is None


def test_another_machine_begins_anew_and_tells_how_much_of_it_is_measured(work, options, tiny):
    run(work[0].recipe, 0, replace(options, budget_steps=11))
    there = {"machine": "gpu00000", "device": "cuda:0", "name": "a GPU", "schedule": "compiled"}
    paces.save(options.results, pace(tiny(), **there, step_s=0.25))
    planned = plan(work, options)
    assert [line.pace for line in planned.lines if line.pace and line.pace.device != "cpu"] == []
    (other,) = planned.elsewhere
    assert (other.machine, other.name, other.device, other.measured, other.entries) == (
        *("gpu00000", "a GPU", "cuda:0"),
        *(1, 3),
    )
    assert other.total_s == suite.projected_s(tiny(), 0, pace(tiny(), step_s=0.25))


def test_what_cannot_be_run_here_says_why(options, monkeypatch, tmp_path):
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "empty"))
    entry = Entry(resolve("omniglot-5w1s", preset="smoke"), 0, 0)
    (line,) = plan([entry], options).lines
    assert line.state == "not possible"
    assert "omniglot is not stored in" in line.problem
    assert plan([entry], options).open == []


def test_measuring_keeps_a_pace_and_leaves_nothing_else(work, options):
    measured = paces.measure(work[0].recipe, options)
    assert (measured.threads, measured.device, measured.schedule) == (1, "cpu", "vmap")
    assert (measured.gflops, measured.source, measured.machine) == (100.0, "measured", machine.identity())
    assert measured.step_s > 0
    assert measured.score_s > 0
    path = paces.save(options.results, measured)
    assert path == options.results / "paces" / f"{machine.identity()}.json"
    assert [file for file in options.results.rglob("*") if file.is_file()] == [path]
    assert paces.load(options.results) == [measured]
    (line,) = plan([work[0]], options).lines
    assert line.pace == measured
    assert json.loads(path.read_text())["name"] == machine.describe()["cpu"]


def test_measuring_what_does_not_train_times_its_tests(work, options):
    measured = paces.measure(work[2].recipe, options)
    assert measured.step_s == 0.0
    assert measured.score_s > 0


def test_a_newer_measurement_takes_the_place_of_the_older_one_of_its_kind(options, tiny):
    for fields in ({"step_s": 1.0}, {"step_s": 2.0}, {"step_s": 3.0, "threads": 2}):
        paces.save(options.results, pace(tiny(), **fields))
    assert sorted(found.step_s for found in paces.load(options.results)) == [2.0, 3.0]


def test_runs_are_trusted_before_measurements_and_newer_before_older(tiny):
    old, new = pace(tiny(), source="record", at="2026-01-01"), pace(tiny(), source="record", at="2026-02-01")
    measured = pace(tiny(), at="2026-03-01")
    where = {"machine": machine.identity(), "device": "cpu", "threads": 1, "schedule": "vmap"}
    assert paces.choose([old, measured, new], new.work, **where) is new
    assert paces.choose([measured], new.work, **where) is measured
    assert paces.choose([measured], new.work, **{**where, "schedule": "loop"}) is None


@pytest.mark.parametrize("text", ["", "{}", '{"paces": [{}]}', '{"paces": 3}'])
def test_a_damaged_file_of_paces_is_a_sentence(options, text):
    path = options.results / "paces" / "m1.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(MamlBenchError, match=r"m1\.json cannot be read as paces: remove it"):
        paces.load(options.results)


def test_a_record_that_says_nothing_of_a_pace(tiny, options):
    record = run(tiny("outer.steps=9"), 0, options).record
    assert paces.of_record(record) is None
    whole = load(run(tiny(), 0, options).path)
    assert paces.of_record(replace(whole, evaluations=[])) is None
    assert paces.of_record(replace(whole, earlier=[{"machine": "m2"}])) is None
    assert paces.of_record(whole).work == paces.work_of(tiny().plain())


@pytest.mark.parametrize(
    ("step", "seconds", "fits"),
    [(0, 5.0, True), (0, 4.9, False), (10, 1.0, True), (10, 0.9, False), (12, 0.0, True), (0, 0.0, False)],
)
def test_a_run_is_begun_while_ten_steps_or_its_rest_fit(tiny, tmp_path, step, seconds, fits):
    line = suite.Line(Entry(tiny(), 0, 0), "begun", step, tmp_path, 0.0, pace(tiny()))
    assert line.fits(seconds) is fits
    assert replace(line, pace=None).fits(seconds) is (seconds > 0 or step == 12)
