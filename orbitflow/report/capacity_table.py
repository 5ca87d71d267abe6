"""The answers of a capacity question, as the command prints them: a policy per row."""

from __future__ import annotations

from html import escape

from orbitflow.report.tables import BEST, STAR, Line, table
from orbitflow.study.capacity_result import CapacityAnswer, CapacityResult, cells, heads


def capacity_table(found: CapacityResult) -> str:
    """A row per policy; the hardest value met is marked where policies differ in it."""
    policy, *columns = heads(found)
    lines = [_line(found, answer, position) for position, answer in enumerate(found.answers)]
    return table("answers", [policy], columns, lines)


def _line(found: CapacityResult, answer: CapacityAnswer, position: int) -> Line:
    policy, *others = cells(found, answer)
    written = [f"<td>{escape(text)}</td>" for text in others]
    if answer.met is not None and answer.met.value == found.best:
        written[0] = f"<td{BEST}>{escape(others[0])} {STAR}</td>"
    return Line([policy], written, position == 0)
