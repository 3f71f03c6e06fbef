"""The table of a paper: every published number has its line, and only a whole run of the recipe counts."""

from dataclasses import replace

import pandas as pd
import pytest
from record_factory import ACCURACY, PAPER, evaluation, record

from maml_bench.api import reading
from maml_bench.report.formats import markdown
from maml_bench.report.reproduction import Cell, files, numbers, page, reproduction, text

RECIPE_ID = record(preset="paper").recipe_id
CELL = Cell("omniglot-5w1s", RECIPE_ID, "maml", 1500, ACCURACY, {**PAPER, "source": "Finn et al. 2017, Table 1"})


def run(values=(0.987, 0.987), **fields):
    return record(values, **{"preset": "paper", "published": [CELL.published], **fields})


def line(cells, records):
    (found,) = text(reproduction(cells, records)).to_dict("records")
    return found


def test_a_whole_run_of_the_recipe_is_a_reproduction():
    assert line([CELL], [run(seed=seed) for seed in range(3)]) == {
        **{"cell": "T1 omniglot-5w1s maml 3", "published": "98.7 ± 0.4", "ours": "98.7 ± 0.0", "seeds": "3"},
        **{"budget": "1,500", "verdict": "within"},
    }


def test_seeds_of_all_machines_count():
    found = line([CELL], [run(seed=0, machine_id="m2"), run(seed=1), run(seed=2)])
    assert (found["seeds"], found["verdict"]) == ("3", "within")


def test_a_number_without_a_run_stands_there_too():
    found = line([CELL], [record(preset="quick", published=[CELL.published]), run(setup="anil")])
    assert (found["ours"], found["verdict"], found["published"]) == ("-", "not run", "98.7 ± 0.4")


def changed(setting="outer.steps=200", **fields):
    one = run(recipe_id="ffffffff", outer_steps=200, seed=5, **fields)
    one.recipe["changed"] = [setting]
    return one


@pytest.mark.parametrize(
    ("records", "verdict", "budget"),
    [
        ([changed()], "changed", "200 of 1,500"),
        ([run(outer_steps=500)], "partial", "500 of 1,500"),
        ([run(recipe_id="eeeeeeee")], "older recipe", "1,500"),
        ([run(), changed(), run(outer_steps=500, seed=1)], "within (1 seed)", "1,500"),
    ],
)
def test_other_runs_are_shown_but_do_not_count(records, verdict, budget):
    found = line([CELL], records)
    assert (found["verdict"], found["budget"]) == (verdict, budget)


def test_the_page_counts_verdicts_and_lists_changed_settings():
    told = page(reproduction([CELL], [changed()]))
    assert told.startswith("Of 1 published numbers: 1 changed.")
    assert "- omniglot-5w1s, maml: changed: outer.steps=200" in told


def test_recipes_for_one_number_share_a_line_and_the_csv_has_both():
    text_recipe = replace(CELL, recipe="omniglot-5w1s-text", recipe_id="1")
    found = reproduction([CELL, text_recipe], [run(recipe="omniglot-5w1s-text", recipe_id="1"), run(outer_steps=500)])
    assert [rows[0].cell.recipe for rows in found] == ["omniglot-5w1s-text"]
    frame = numbers(found)
    assert list(frame["recipe"]) == ["omniglot-5w1s-text", "omniglot-5w1s"]
    assert list(frame["shown"]) == [True, False]


def test_tables_stand_before_figures_and_the_readme_has_the_papers_own_methods(tmp_path):
    def cell(source, setup="maml", value=0.5):
        return replace(CELL, setup=setup, published={**CELL.published, "source": source, "value": value})

    cells = [
        cell("Finn et al. 2017, Figure 5"),
        cell("B 2016, Table 9, as quoted by Finn et al. 2017, Table 2", "mann"),
    ]
    cells += [cell("Finn et al. 2017, Table 1")]
    made = files(reproduction(cells, []))
    lines = [line[2:4] for line in made["reproduction.md"].splitlines() if "not run |" in line]
    assert lines == ["T1", "T2", "F5"]
    assert [line for line in made["reproduction-summary.md"].splitlines() if "not run" in line] == [
        "| T1 omniglot-5w1s maml 3 | 50.0 ± 0.4 | - | - | - | not run |"
    ]
    (tmp_path / "a.csv").write_text(made["reproduction.csv"])
    assert list(pd.read_csv(tmp_path / "a.csv")["paper"]) == ["Table 1", "Table 2", "Figure 5"]


def test_every_number_of_the_maml_paper_has_a_line():
    frame = text(reproduction(reading.paper_cells(), []))
    cells = frame["cell"].str.split(" ", expand=True)
    assert set(cells[0]) == {"T1", "T2", "T3", "T4", "T5", "F4", "F5"}
    own = frame[cells[2].isin(["maml", "fomaml"]) & cells[0].str.startswith("T")]
    assert sorted(own["published"]) == sorted(
        [
            *("98.7 ± 0.4", "99.9 ± 0.1", "95.8 ± 0.3", "98.9 ± 0.2", "89.7 ± 1.1", "97.5 ± 0.6"),
            *("48.7 ± 1.8", "63.1 ± 0.9", "48.1 ± 1.8", "63.1 ± 0.9"),
            *("0.670", "0.380", "0.350", "-40.4", "-11.7", "-3.33", "-3.23", "-50.7", "293", "313", "316"),
        ]
    )


@pytest.mark.parametrize(("seeds", "part"), [(1, 0.5), (2, 1.0), (12, 1.0)])
def test_every_line_is_under_100_columns(seeds, part):
    """All cells have been run, over a part of the budget or with few seeds, which need more words."""
    cells = reading.paper_cells()
    records = [
        record(
            **{"recipe": c.recipe, "setup": c.setup, "recipe_id": c.recipe_id, "seed": seed, "metric": c.metric},
            **{"preset": "paper", "published": [c.published], "outer_steps": int(part * c.steps)},
            **{"budget_steps": c.steps, "evaluations": [scored(c)]},
        )
        for c in {(c.recipe, c.setup): c for c in cells}.values()
        for seed in range(seeds)
    ]
    assert max(map(len, markdown(text(reproduction(cells, records))).splitlines())) < 100


def scored(cell):
    p = cell.published
    spread = 0.1 * abs(p["value"])
    made = evaluation({p["inner_steps"]: [p["value"] - spread, p["value"] + spread]}, cell.metric, p["way"], p["shot"])
    return replace(made, query=p["query"] or p["shot"], normalisation=p["normalisation"] or "transductive")


def test_a_budget_that_was_set_is_compared_with_that_of_the_recipe(tmp_path):
    one = record(tasks="cheetah_vel", recipe="cheetah-vel", preset="paper", outer_steps=200, budget_steps=200)
    one.recipe["changed"] = ["outer.steps=200"]
    one.save(tmp_path)
    (_, found), = reading.read_records(tmp_path)  # fmt: skip
    assert (found.outer_steps, found.budget_steps) == (200, 475)
    one.recipe["id"] = "of-another-package"
    one.save(tmp_path / "b")
    (_, found), = reading.read_records(tmp_path / "b")  # fmt: skip
    assert found.budget_steps == 200


def test_the_note_of_a_published_number_stands_beside_it():
    noted = {**CELL.published, "note": "2 runs"}
    found = reproduction([replace(CELL, published=noted)], [run(published=[noted])])
    assert text(found)["published"].tolist() == ["98.7 ± 0.4 (2 runs)"]
    assert numbers(found)["published_note"].tolist() == ["2 runs"]
