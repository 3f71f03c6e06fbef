"""The formats of tables: odd text survives each of them, and every file says where it comes from."""

from io import StringIO

import pandas as pd
import pytest

from maml_bench.report.formats import MARK, bullets, csv, latex, markdown, paragraphs, write

FRAME = pd.DataFrame({"a_b": ["1 | 2", "97.4 ± 0.7"], "c": ["50 %", "x & y"]})


def test_markdown_escapes_bars_and_keeps_numbers_as_they_are_written():
    header, _, first, second = markdown(FRAME).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["a_b", "c"]
    assert "1 \\| 2" in first
    assert "97.4 ± 0.7" in second
    assert "1.50" in markdown(pd.DataFrame({"a": ["1.50"]}))


def test_latex_escapes_cells_and_caption_and_spells_plus_minus():
    table = latex(FRAME, "5 % of a_b & #1, ± {x}", "x-1")
    for words in (r"a\_b", r"97.4 $\pm$ 0.7", r"50 \%", r"x \& y", r"\label{tab:x-1}"):
        assert words in table
    assert r"\caption{5 \% of a\_b \& \#1, $\pm$ \{x\}}" in table


def test_csv_comes_back_as_it_was():
    read = pd.read_csv(StringIO(csv(FRAME)))
    assert read.equals(FRAME)
    assert csv(pd.DataFrame({"a": [(1.5, 2.0)]})) == "a\n1.5 2.0\n"


def test_paragraphs_leave_out_what_is_empty():
    assert bullets("Failed:", []) == []
    assert paragraphs(["a", "", *bullets("Failed:", ["x", "y"])]) == "a\n\nFailed:\n\n- x\n- y\n"


@pytest.mark.parametrize(
    ("name", "first"), [("t.md", f"<!-- {MARK} -->"), ("t.csv", f"# {MARK}"), ("t.tex", f"% {MARK}")]
)
def test_a_file_says_in_its_first_line_where_it_comes_from(tmp_path, name, first):
    assert write(tmp_path, {name: "content\n"}) == [tmp_path / name]
    assert (tmp_path / name).read_text(encoding="utf-8") == f"{first}\ncontent\n"
