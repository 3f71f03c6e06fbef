"""Tables as plain text: complete in a file or a pipe, fitted to the width at a terminal."""

from collections.abc import Sequence
from itertools import groupby, zip_longest
from textwrap import wrap

GAP = "  "
NARROWEST = 8
"""Columns are not made narrower than this, in characters."""


def layout(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    heads: int = 0,
    optional: Sequence[str] = (),
    limit: int | None = None,
) -> tuple[list[str], list[str]]:
    """The lines of a table, and the names of the columns that were left out.

    With no ``limit`` the table is complete, a line per row. A table that is wider than ``limit`` characters gives up,
    in this order and only as far as it must: its first ``heads`` columns, which become a line above the rows that share
    them; the columns in ``optional``, the first ones first; and the width of its widest columns, whose cells are then
    wrapped. Columns in ``right`` are set flush right.
    """
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    shown, left_out, indent = list(range(len(columns))), [], ""

    def excess() -> int:
        if limit is None:
            return 0
        return len(indent) + sum(widths[i] for i in shown) + len(GAP) * (len(shown) - 1) - limit

    grouped = heads if excess() > 0 else 0
    if grouped:
        shown, indent = shown[grouped:], GAP
    for name in (name for name in optional if name in columns):
        place = columns.index(name)
        if excess() > 0 and place in shown:
            shown.remove(place)
            left_out.append(name)
    while excess() > 0 and max(widths[i] for i in shown) > NARROWEST:
        widths[max(shown, key=lambda i: widths[i])] -= 1

    def lines_of(row: Sequence[str]) -> list[str]:
        wrapped = [wrap(row[i], widths[i]) if len(row[i]) > widths[i] else [row[i]] for i in shown]
        return [
            indent + GAP.join(_set(cell, widths[i], columns[i] in right) for cell, i in zip(cells, shown, strict=True))
            for cells in zip_longest(*wrapped, fillvalue="")
        ]

    lines = lines_of(columns)
    for head, same in groupby(rows, key=lambda row: tuple(row[:grouped])):
        if limit is not None and grouped:
            lines += wrap(", ".join(f"{name} {cell}" for name, cell in zip(columns, head, strict=False)), limit)
        lines += [line for row in same for line in lines_of(row)]
    return [line.rstrip() for line in lines], left_out


def _set(cell: str, width: int, flush_right: bool) -> str:
    return cell.rjust(width) if flush_right else cell.ljust(width)
