"""A table as HTML: rows named on the left, numbers on the right. Heads and names are escaped; cells
are HTML already.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

BEST = ' class="best"'
STAR = '<span class="star" role="img" aria-label="best of its column">★</span>'


class Line(NamedTuple):
    """A row, its names and its cells."""

    heads: Sequence[str]
    cells: Sequence[str]
    starts: bool  # whether rows that may be compared begin with it


def table(name: str, heads: Sequence[str], columns: Sequence[str], lines: Sequence[Line]) -> str:
    """The whole table, in a region that scrolls; `name` is for readers who cannot see it."""
    titles = "".join(f'<th scope="col" class="name">{escape(title)}</th>' for title in heads)
    titles += "".join(f'<th scope="col">{escape(title)}</th>' for title in columns)
    rows = []
    for line in lines:
        names = "".join(f'<th scope="row">{escape(head)}</th>' for head in line.heads)
        kind = ' class="starts"' if line.starts else ""
        rows.append(f"<tr{kind}>{names}{''.join(line.cells)}</tr>")
    return (
        f'<div class="table" role="region" aria-label="table of {escape(name)}" tabindex="0">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
