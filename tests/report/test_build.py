"""The whole report: from a folder of records to files, and back when records are gone."""

import subprocess
import sys

import pandas as pd
import pytest
from record_factory import ACCURACY, omniglot, record, sinusoid
from speed_factory import curves, ours, race, races, save

from maml_bench.errors import MamlBenchError, Notice
from maml_bench.report.build import build
from maml_bench.report.reproduction import Cell
from maml_bench.report.writing import BEGIN, END, SPEED_BEGIN, SPEED_END, Selection, include


def test_build_writes_everything_and_tells(tmp_path):
    for each in (sinusoid("maml", 0), omniglot("maml"), omniglot("anil")):
        each.save(tmp_path)
    told = []
    report = build(tmp_path, told.append)
    assert (report.records, len(report.tables), report.removed) == (3, 6, [])
    assert all(path.is_file() for path in (*report.tables, *report.figures))
    assert "writing tables from 3 records" in told
    captions = (tmp_path / "figures" / "captions.md").read_text()
    assert captions.count("![") == len(report.figures) / 2
    again = {path: path.read_bytes() for path in report.tables}
    assert build(tmp_path).tables == list(again)
    assert all(path.read_bytes() == content for path, content in again.items())


def test_only_generated_files_of_vanished_records_are_removed(tmp_path):
    gone = omniglot("maml").save(tmp_path)
    record(tasks="other", recipe="other-1").save(tmp_path)
    first = build(tmp_path)
    ours = tmp_path / "tables" / "notes.md"
    ours.write_text("written by hand\n")
    gone.unlink()
    report = build(tmp_path)
    about = ("omniglot", "images")
    gone_with_it = {path for path in (*first.tables, *first.figures) if path.name.startswith(about)}
    assert set(report.removed) == gone_with_it | {tmp_path / "figures" / "captions.md"}
    assert len(report.removed) > 3
    assert ours.is_file()


def test_a_selection_shows_setups_and_columns_and_removes_nothing(tmp_path):
    for each in (sinusoid("maml", 0), omniglot("maml"), omniglot("anil")):
        each.save(tmp_path)
    first = build(tmp_path, tex=True)
    before = {path: path.read_bytes() for path in (*first.tables, *first.figures)}
    report = build(tmp_path, tex=True, selection=Selection(("anil",), ("score", "setup")))
    assert (report.removed, sorted(path.name for path in report.tables)) == (
        [], ["omniglot-summary.md", "omniglot.csv", "omniglot.md", "omniglot.tex"],
    )  # fmt: skip
    assert all(path.is_file() for path in before)
    assert all(path.read_bytes() == before[path] for path in before if path not in report.tables)
    page = (tmp_path / "tables/omniglot.md").read_text()
    assert "Only these setups are shown: anil." in page
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")]
    assert [[cell.strip() for cell in row] for row in (rows[0], *rows[2:])] == [
        ["score", "setup"],
        ["75.9 ± 1.6", "anil"],
    ]
    assert "score & setup" in (tmp_path / "tables/omniglot.tex").read_text()
    assert set(pd.read_csv(tmp_path / "tables/omniglot.csv")["setup"]) == {"anil"}


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (Selection(("mmal",)), r"there is no record of setup 'mmal' \(did you mean 'maml'\?\)"),
        (Selection((), ("scor",)), r"no table has a column 'scor' \(did you mean 'score'\?\)"),
    ],
)
def test_a_selection_of_nothing_is_a_sentence_and_changes_no_file(tmp_path, selection, sentence):
    omniglot("maml").save(tmp_path)
    with pytest.raises(MamlBenchError, match=sentence):
        build(tmp_path, selection=selection)
    assert not list((tmp_path / "tables").glob("*.md"))


def test_without_records_one_sentence_names_the_command(tmp_path):
    with pytest.raises(MamlBenchError, match="maml-bench run quickstart"):
        build(tmp_path)


def test_speed_records_alone_make_a_report_and_leave_with_their_files(tmp_path):
    gone = save(tmp_path, *races(), *curves())
    first = build(tmp_path)
    assert (first.records, len(first.tables), len(first.figures)) == (0, 5, 4)
    assert first.speed == len(races()) + len(curves())
    gone.unlink()
    record().save(tmp_path)
    captions = tmp_path / "figures" / "captions.md"
    assert set(build(tmp_path).removed) == {*first.tables, *first.figures, captions}


def test_damaged_records_do_not_stop_the_report(tmp_path):
    record().save(tmp_path)
    record(seed=1).save(tmp_path).write_text("{")
    save(tmp_path).write_text("{")
    with pytest.warns(Notice, match="is not valid JSON"):
        assert build(tmp_path).records == 1


def test_reports_need_no_torch():
    code = "import sys, maml_bench.report.build, maml_bench.report.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_latex_is_written_where_it_is_asked_for_and_goes_with_the_next_report(tmp_path):
    omniglot("maml").save(tmp_path)
    table = tmp_path / "tables" / "omniglot.tex"
    assert table in build(tmp_path, tex=True).tables
    assert "\\toprule" in table.read_text()
    assert build(tmp_path).removed == [table]


def test_records_are_read_as_the_caller_says_and_the_paper_has_its_table(tmp_path):
    omniglot("maml", preset="paper").save(tmp_path)
    test = {"protocol": "paper", "way": 5, "shot": 1, "inner_steps": 3, "value": 0.987, "source": "A 2017, Table 1"}
    cell = Cell("omniglot-5w1s", "0", "maml", 1500, ACCURACY, test)
    folder = tmp_path / "tables"
    made = build(tmp_path, cells=[cell], read=lambda root: [(root, record(preset="paper", recipe_id="0"))])
    names = ["reproduction.md", "reproduction.csv", "reproduction-summary.md"]
    assert {folder / name for name in names} <= set(made.tables)
    assert "| T1 omniglot-5w1s maml 3 | 98.7 | 98.0 ± 1.4 |" in (folder / names[0]).read_text()


def test_the_summaries_go_into_a_document_between_its_marks(tmp_path):
    for made in (omniglot("maml"), sinusoid("maml", 0)):
        made.save(tmp_path)
    build(tmp_path)
    document = tmp_path / "README.md"
    document.write_text(f"before ±\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    include(tmp_path, document)
    once = document.read_text(encoding="utf-8")
    assert once.startswith(f"before ±\n{BEGIN}\n| recipe")
    assert once.endswith(f"{END}\nafter\n")
    assert "old" not in once
    assert "omniglot-5w1s" in once
    assert "sinusoid-k10" in once
    include(tmp_path, document)
    assert document.read_text(encoding="utf-8") == once


def test_speed_goes_between_marks_of_its_own_where_there_are_some(tmp_path):
    omniglot("maml").save(tmp_path)
    save(tmp_path, ours(), race())
    build(tmp_path)
    document = tmp_path / "README.md"
    plain, marked = (f"{BEGIN}\n{END}\n{more}" for more in ("", f"between\n{SPEED_BEGIN}\nold\n{SPEED_END}\nafter\n"))
    document.write_text(plain)
    include(tmp_path, document)
    assert "torchmeta" not in document.read_text()
    document.write_text(marked)
    include(tmp_path, document)
    scores, speed = document.read_text().split("between")
    assert "omniglot-5w1s" in scores
    assert speed.startswith(f"\n{SPEED_BEGIN}\n| bench")
    assert speed.endswith(f"{SPEED_END}\nafter\n")
    assert "torchmeta 1.8.0: 300 ms" in speed
    assert "old" not in speed


def test_a_document_may_name_the_families_that_it_takes(tmp_path):
    for made in (omniglot("maml"), sinusoid("maml", 0), record(tasks="bandit", recipe="bandit")):
        made.save(tmp_path)
    build(tmp_path)
    document = tmp_path / "page.md"
    document.write_text(f"<!-- tables:begin sinusoid omniglot ant_dir -->\nold\n{END}\n")
    include(tmp_path, document)
    taken = document.read_text()
    assert taken.startswith("<!-- tables:begin sinusoid omniglot ant_dir -->\n| recipe")
    assert 0 < taken.index("sinusoid-k10") < taken.index("omniglot-5w1s")
    assert "bandit" not in taken
    assert "old" not in taken


@pytest.mark.parametrize(("text", "sentence"), [("no marks", "has no lines"), (None, "cannot be read")])
def test_a_document_that_cannot_take_them_is_a_sentence(tmp_path, text, sentence):
    document = tmp_path / "README.md"
    if text:
        document.write_text(text)
    with pytest.raises(MamlBenchError, match=sentence):
        include(tmp_path, document)
