"""A superseded record is marked and kept: out of the main rows and figures, in the full table and the CSV."""

from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from record_factory import ACCURACY, PAPER, record

from maml_bench.record import as_text
from maml_bench.record_files import load, load_all
from maml_bench.report.flat_rows import flat_rows
from maml_bench.report.reproduction import Cell, reproduction, text
from maml_bench.report.suite_tables import counts
from maml_bench.report.tables import summary
from maml_bench.report.writing import write_tables

ROOT = Path(__file__).parents[2]
REASON = "the tests were of other episodes"
NUMBER = {**PAPER, "source": "Finn et al. 2017, Table 1"}
OLD = record((0.5, 0.5), preset="paper", published=[NUMBER], superseded=REASON, recipe_id="eeeeeeee")
NEW = record((0.98, 0.99), preset="paper", published=[NUMBER])


def test_main_rows_leave_it_out_and_the_full_table_says_the_word() -> None:
    assert summary([OLD, NEW])["score"].str[:4].tolist() == ["98.5"]
    assert len(summary([OLD])) == 0
    full = summary([OLD, NEW], everything=True)
    assert sorted(full["preset"]) == ["paper", "paper, superseded"]
    assert full.set_index("preset")["verdict"]["paper, superseded"] == "superseded"


def test_it_is_not_a_part_of_the_group_that_takes_its_place() -> None:
    """Even with the same recipe id, and another seed."""
    same = replace(OLD, recipe_id=NEW.recipe_id, seed=1)
    assert summary([same, NEW])["seeds"].tolist() == ["0"]


def test_no_published_number_is_reproduced_by_it() -> None:
    cell = Cell("omniglot-5w1s", NEW.recipe_id, "maml", 1500, ACCURACY, NUMBER)
    assert text(reproduction([cell], [OLD]))["verdict"].tolist() == ["not run"]
    assert text(reproduction([cell], [OLD, NEW]))["ours"].str[:4].tolist() == ["98.5"]


def test_the_files_have_its_reason(tmp_path: Path) -> None:
    write_tables([OLD, NEW], tmp_path)
    page = (tmp_path / "omniglot.md").read_text()
    assert "Superseded:" in page
    assert REASON in page
    assert REASON not in (tmp_path / "omniglot-summary.md").read_text()
    frame = pd.read_csv(tmp_path / "omniglot.csv")
    assert frame["superseded"].dropna().tolist() == [REASON]
    assert frame.set_index("superseded")["verdict"][REASON] == "superseded"


def test_no_suite_takes_it_and_its_flat_row_says_so() -> None:
    assert [counts(one) for one in (OLD, NEW)] == [False, True]
    rows = flat_rows([(Path("a.json"), OLD), (Path("b.json"), NEW)])
    assert [row["superseded"] for row in rows] == [REASON, ""]


def test_the_reason_is_kept_in_the_file_and_older_files_have_none(tmp_path: Path) -> None:
    content = asdict(OLD)
    (tmp_path / "a.json").write_text(as_text(content))
    assert load(tmp_path / "a.json").superseded == REASON
    del content["superseded"]
    (tmp_path / "a.json").write_text(as_text(content))
    assert load(tmp_path / "a.json").superseded == ""


def test_the_navigation_runs_with_episodes_in_turn_are_there() -> None:
    """13 records, among them three seeds with the plain curvature."""
    old = [one for _, one in load_all(ROOT / "results") if one.recipe["id"] == "navigation" and one.superseded]
    assert len(old) == 13
    plain = [one for one in old if one.recipe["setup"]["name"] == "maml" and not one.recipe["changed"]]
    means = [[point.mean for point in one.evaluations[0].points] for one in plain]
    assert [round(sum(column) / len(plain), 2) for column in zip(*means, strict=True)][2:] == [-7.6, -5.03, -4.86]
