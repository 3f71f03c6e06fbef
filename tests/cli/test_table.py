"""Tables as text: complete without a limit, and readable within one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maml_bench.cli.table import NARROWEST, layout

COLUMNS = ("recipe", "setup", "score", "path")
ROWS = [
    ["sinusoid-k10", "maml", "0.5", "records/a.json"],
    ["sinusoid-k10", "maml", "0.25", "records/b.json"],
    ["sinusoid-k10", "anil", "0.125", "records/c.json"],
]


def test_without_a_limit_every_row_is_one_complete_line():
    lines, left_out = layout(COLUMNS, ROWS, right=("score",), heads=2, optional=("path",))
    assert lines == [
        "recipe        setup  score  path",
        "sinusoid-k10  maml     0.5  records/a.json",
        "sinusoid-k10  maml    0.25  records/b.json",
        "sinusoid-k10  anil   0.125  records/c.json",
    ]
    assert left_out == []


def test_a_table_that_fits_is_the_same_with_a_limit():
    assert layout(COLUMNS, ROWS, heads=2, optional=("path",), limit=42) == layout(COLUMNS, ROWS)


def test_heads_become_a_line_above_the_rows_that_share_them():
    lines, left_out = layout(COLUMNS, ROWS, heads=2, optional=("path",), limit=40)
    assert lines == [
        "  score  path",
        "recipe sinusoid-k10, setup maml",
        "  0.5    records/a.json",
        "  0.25   records/b.json",
        "recipe sinusoid-k10, setup anil",
        "  0.125  records/c.json",
    ]
    assert left_out == []


def test_optional_columns_are_left_out_in_their_order_and_only_as_far_as_it_must_be():
    assert layout(COLUMNS, ROWS, optional=("path", "setup"), limit=40)[1] == ["path"]
    assert layout(COLUMNS, ROWS, optional=("path", "setup"), limit=20)[1] == ["path", "setup"]
    assert layout(COLUMNS, ROWS, optional=("nothing", "setup", "path"), limit=40)[1] == ["setup"]


def test_wide_cells_are_wrapped():
    lines, _ = layout(("what", "about"), [["x", "one two three four"], ["y", "five"]], limit=16)
    assert lines == ["what  about", "x     one two", "      three four", "y     five"]


@given(
    st.lists(st.lists(st.text("ab -", max_size=30), min_size=4, max_size=4), max_size=5),
    st.integers(0, 3),
    st.lists(st.sampled_from(COLUMNS), unique=True, max_size=2),
)
def test_no_line_of_cells_is_wider_than_the_limit(rows, heads, optional):
    limit = 4 * (NARROWEST + 2) + 2
    lines, left_out = layout(COLUMNS, rows, heads=heads, optional=optional, limit=limit)
    assert set(left_out) <= set(optional)
    assert all(len(line) <= limit for line in lines)


@pytest.mark.parametrize("limit", [None, 80])
def test_a_table_without_rows_has_its_heading(limit):
    assert layout(COLUMNS, [], limit=limit)[0] == ["recipe  setup  score  path"]
