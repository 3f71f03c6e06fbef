"""The formats of tables: odd text survives each of them, and every file says where it comes from."""

import math
import shutil
import subprocess
from io import StringIO

import pandas as pd
import pytest

from maml_bench.report.formats import (
    MARK,
    bullets,
    csv,
    generated,
    latex,
    markdown,
    paragraphs,
    plus_minus,
    unit,
    write,
)  # fmt: skip

FRAME = pd.DataFrame({"a_b": ["1 | 2", "97.4 ± 0.7"], "c": ["50 %", "x & y"]})


def test_markdown_escapes_bars_and_keeps_numbers_as_they_are_written():
    assert markdown(FRAME).splitlines() == [
        "| a_b | c |", "| --- | --- |", "| 1 \\| 2 | 50 % |", "| 97.4 ± 0.7 | x & y |",
    ]  # fmt: skip
    assert "1.50" in markdown(pd.DataFrame({"a": ["1.50"]}))


def test_latex_escapes_cells_and_caption_and_spells_plus_minus():
    table = latex(FRAME, "5 % of a_b & #1, ± {x}", "x-1")
    for words in (r"a\_b", r"97.4 $\pm$ 0.7", r"50 \%", r"x \& y", r"\label{tab:x-1}"):
        assert words in table
    assert r"\caption{5 \% of a\_b \& \#1, $\pm$ \{x\}}" in table


def test_csv_comes_back_as_it_was():
    read = pd.read_csv(StringIO(csv(FRAME)))
    assert read.equals(FRAME)


def test_paragraphs_leave_out_what_is_empty():
    assert bullets("Failed:", []) == []
    assert paragraphs(["a", "", *bullets("Failed:", ["x", "y"])]) == "a\n\nFailed:\n\n- x\n- y\n"


@pytest.mark.parametrize(("name", "first"), [("t.md", f"<!-- {MARK} -->\n"), ("t.csv", ""), ("t.tex", f"% {MARK}\n")])
def test_a_file_says_where_it_comes_from_where_readers_allow_it(tmp_path, name, first):
    assert write(tmp_path, {name: "content\n"}) == [tmp_path / name]
    assert (tmp_path / name).read_text(encoding="utf-8") == f"{first}content\n"


def test_a_csv_is_ours_where_the_page_of_its_name_is(tmp_path):
    ours = write(tmp_path, {"a.csv": "x\n", "a.md": "page\n", "b.tex": "table\n"})
    for name in ("mine.csv", "notes.md", "notes.csv"):
        (tmp_path / name).write_text("by hand\n")
    assert generated(tmp_path) == sorted(ours)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_a_latex_table_compiles(tmp_path):
    table = latex(pd.DataFrame({"a_b": ["**97.4 ± 0.7**", "50 % & #1"]}), "5 % of a_b ± {x}", "x")
    document = (
        f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{table}\n\\end{{document}}\n"
    )
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    line = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_bold_in_markdown_is_bold_in_latex():
    assert r"\textbf{97.4 $\pm$ 0.7}" in latex(pd.DataFrame({"a": ["**97.4 ± 0.7**"]}), "x", "x")


@pytest.mark.parametrize(
    ("mean", "ci95", "metric", "words"),
    [
        (0.987, 0.004, "accuracy", "98.7 ± 0.4"),
        (0.67, 0.0521, "mse", "0.670 ± 0.052"),
        (12.34, 0.5, "mse", "12.3 ± 0.5"),
        (1234.5, 20.0, "mse", "1,234 ± 20"),
        (2.5e7, 1e6, "mse", "2.50e+07 ± 1.00e+06"),
        (0.0, 0.0, "mse", "0.000 ± 0.000"),
        (0.35, None, "mse", "0.350"),
        (math.nan, math.nan, "mse", "-"),
        (None, None, "mse", "-"),
    ],
)
def test_numbers_in_words(mean, ci95, metric, words):
    assert plus_minus(mean, ci95, metric) == words


def test_units():
    assert (unit("accuracy"), unit("mse"), unit("return")) == ("accuracy, %", "MSE", "return")
