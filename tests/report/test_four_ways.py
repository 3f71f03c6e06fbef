"""The table of four ways: whole quick runs of one machine, and every other setup of its suite as not run."""

from dataclasses import replace

from record_factory import record

from maml_bench.record import Metric
from maml_bench.report.four_ways import SUITE, TECHNIQUES, files, four_ways
from maml_bench.suites import suite


def test_every_setup_of_the_suite_has_a_technique_and_each_technique_a_setup():
    run = {setup for part in suite(SUITE).parts for setup in part.setups}
    assert run == {setup for setups in TECHNIQUES.values() for setup in setups}


def test_a_row_says_what_was_learned_over_how_many_tasks_and_what_it_cost():
    maml = record((0.9, 0.92), parameters=112_000)
    frame, machine = four_ways([maml])
    assert machine == "m1 cpu"
    row = frame.iloc[0]
    assert tuple(row[["problem", "technique", "setup"]]) == ("Omniglot", "gradient steps", "maml")
    assert tuple(row[["parameters", "tasks", "test"]]) == ("112,000", "48,000", "5-way 1-shot, 3 steps")
    assert row["score"].startswith("91.0 ± ")
    assert row["seconds"] == f"{maml.train_s:.0f}"
    assert list(frame["score"][1:]) == ["not run"] * (len(frame) - 1)


def test_runs_of_other_machines_budgets_and_settings_do_not_count():
    others = [
        replace(record(setup="matching"), machine_id="m2"),
        record(setup="matching", outer_steps=10),
        record(setup="matching", status="diverged"),
        record(setup="matching", preset="paper"),
    ]
    changed = record(setup="matching", recipe_id="eeeeeeee")
    changed.recipe["changed"] = ["outer.rate=1"]
    here = [record(setup="maml"), record(setup="protonet")]
    frame, machine = four_ways([*others, changed, *here])
    assert machine == "m1 cpu"
    assert set(frame["setup"][frame["score"] != "not run"]) == {"maml", "protonet"}


def test_time_on_a_shared_machine_is_marked():
    shared = record(
        setup="maml", timing_s={"outer_step": {"total": 300.0, "count": 1500, "median": 0.2, "p05": 0.1, "p95": 0.3}}
    )
    assert four_ways([shared])[0].iloc[0]["seconds"].endswith(" *")


def test_the_table_fits_a_page_and_is_made_where_two_problems_have_runs():
    omniglot = record(parameters=112_000)
    agent = record(metric=Metric("return"), setup="rl2", tasks="bandit", recipe="bandit-n10-k5", parameters=100)
    lines = files([omniglot, agent])["four-ways.md"].splitlines()
    assert max(map(len, lines[:3])) < 100
    assert files([omniglot]) == {}
