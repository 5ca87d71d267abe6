"""The tables of a page, as HTML: names on the left, numbers on the right.

The best of a column is marked among rows that may be compared. Heads, names and cells are escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any, NamedTuple

from orbitflow.report.read_studies import BOUND, ReportStudy, StudyCell
from orbitflow.report.theme import Series
from orbitflow.results.figures import (
    ATTAINMENTS,
    MACHINE,
    SERVICE,
    FigureColumn,
    best_as_written,
    percent,
)
from orbitflow.study.capacity_result import CapacityResult
from orbitflow.study.capacity_result import cells as capacity_cells
from orbitflow.study.capacity_result import heads as capacity_heads
from orbitflow.study.keys import Value, key_text
from orbitflow.study.statistics import Estimate, number, seconds, share, writer
from orbitflow.units import format_bytes, format_seconds

STAR = '<span class="star" role="img" aria-label="best of its column">★</span>'
_TITLES = {".".join(figure.path): figure.title for figure in (*SERVICE, *MACHINE)}
_SHORT = ("slo", "ttft", "tbt", "kv", "gpu")


class TableCell(NamedTuple):
    """A number as it is written."""

    text: str
    is_best: bool = False


class Line(NamedTuple):
    """A row, its names and its cells."""

    heads: Sequence[str]
    cells: Sequence[TableCell]
    starts: bool  # whether rows that may be compared begin with it


def table(name: str, heads: Sequence[str], columns: Sequence[str], lines: Sequence[Line]) -> str:
    """The whole table, in a region that scrolls; `name` is for screen readers."""
    titles = "".join(f'<th scope="col" class="name">{escape(title)}</th>' for title in heads)
    titles += "".join(f'<th scope="col">{escape(title)}</th>' for title in columns)
    rows = []
    for line in lines:
        names = "".join(f'<th scope="row">{escape(head)}</th>' for head in line.heads)
        kind = ' class="starts"' if line.starts else ""
        rows.append(f"<tr{kind}>{names}{''.join(map(_html, line.cells))}</tr>")
    return (
        f'<div class="table" role="region" aria-label="table of {escape(name)}" tabindex="0">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _html(cell: TableCell) -> str:
    if cell.is_best:
        return f'<td class="best">{escape(cell.text)} {STAR}</td>'
    return f"<td>{escape(cell.text)}</td>"


def service_table(series: Sequence[Series]) -> str:
    """The service to users: a row for every policy of every run, equal workloads together."""
    return _policy_table("service", SERVICE, series)


def machine_table(series: Sequence[Series]) -> str:
    """The use of the machine, in the same rows."""
    return _policy_table("machine use", MACHINE, series)


def _policy_table(name: str, figures: Sequence[FigureColumn], series: Sequence[Series]) -> str:
    groups: dict[tuple[object, ...], list[Series]] = {}
    for one in series:
        groups.setdefault(one.run.workload, []).append(one)
    several = len({one.run.label for one in series}) > 1
    columns = [f for f in figures if any(f.of(one.policy.figures) is not None for one in series)]
    lines = []
    for members in groups.values():
        best = {f.title: f.best_text(f.of(one.policy.figures) for one in members) for f in columns}
        for position, one in enumerate(members):
            lossy = " (lossy)" if one.policy.figures.get("lossy") else ""
            heads = [one.policy.name + lossy, *([one.run.label] if several else [])]
            texts = [_text(f, f.of(one.policy.figures)) for f in columns]
            cells = [TableCell(t, t == best[f.title]) for f, t in zip(columns, texts, strict=True)]
            lines.append(Line(heads, cells, position == 0))
        if figures is SERVICE:
            lines += _bound_lines(columns, members, several=several)
    heads = ["policy", *(["run"] if several else [])]
    return table(name, heads, [column.title for column in columns], lines)


def _text(figure: FigureColumn, value: Any) -> str:
    return "n/a" if value is None else figure.write(value)


def _bound_lines(
    columns: Sequence[FigureColumn], members: Sequence[Series], *, several: bool
) -> list[Line]:
    lines = []
    for run in {one.run.label: one.run for one in members}.values():
        if (bound := run.summary.get("bound")) is not None:
            texts = [_text(f, bound[f.path[0]]) if f.path[0] in bound else "" for f in columns]
            heads = ["upper bound", *([run.label] if several else [])]
            lines.append(Line(heads, list(map(TableCell, texts)), False))
    return lines


def study_table(study: ReportStudy) -> str:
    """A row per cell; the best is marked among policies of equal other keys, or among trials."""
    columns = columns_of(study)
    groups: dict[tuple[tuple[str, Value], ...], list[StudyCell]] = {}
    for cell in study.cells:
        groups.setdefault(() if study.search else cell.others, []).append(cell)
    lines = []
    for members in groups.values():
        best = {column.title: _best_mean(column, members) for column in columns}
        for position, cell in enumerate(members):
            values = dict(cell.others)
            keys = [key_text(key, values.get(key)) for key in study.keys]
            lossy = " (lossy)" if cell.lossy else ""
            cells = [_study_cell(column, cell, best[column.title]) for column in columns]
            lines.append(Line([*keys, cell.policy + lossy], cells, position == 0))
    heads = [*(key_name(key) for key in study.keys), "policy"]
    return table("cells", heads, [column.title for column in columns], lines)


def columns_of(study: ReportStudy) -> list[FigureColumn]:
    """The figures that the study sought, then the usual ones."""
    usual = [
        *(FigureColumn(c.title, c.path, share, max) for c in ATTAINMENTS),
        FigureColumn("goodput, req/s", ("goodput_rps",), number, max),
        FigureColumn("TTFT p95", ("ttft_s.p95",), seconds, min),
        FigureColumn("TBT p99", ("tbt_s.p99",), seconds, min),
        FigureColumn("makespan", ("makespan_s",), seconds, min),
    ]
    known = {figure.path[0] for figure in usual}
    others = [
        FigureColumn(
            _TITLES.get(figure, figure), (figure,), writer(figure), max if is_maximized else min
        )
        for figure, is_maximized in study.sought.items()
        if figure not in known
    ]
    return [*others, *usual]


def _best_mean(column: FigureColumn, members: Sequence[StudyCell]) -> str | None:
    name = column.path[0]
    means = [c.figures[name].mean for c in members if name in c.figures and c.policy != BOUND]
    assert column.best is not None
    return best_as_written(means, partial(_mean_text, column), column.best)


def _mean_text(column: FigureColumn, mean: float) -> str:
    """How a column writes a mean without its interval."""
    return column.write(Estimate(mean, None))


def _study_cell(column: FigureColumn, cell: StudyCell, best: str | None) -> TableCell:
    value = cell.figures.get(column.path[0])
    if value is None:
        return TableCell("failed" if not cell.ok else "" if cell.policy == BOUND else "n/a")
    is_best = cell.policy != BOUND and best == _mean_text(column, value.mean)
    return TableCell(column.write(value), is_best)


def key_name(key: str) -> str:
    """A key of a grid in words."""
    words = key.removesuffix("_bytes").removesuffix("_s").split("_")
    return " ".join(word.upper() if word in _SHORT else word for word in words)


def capacity_table(found: CapacityResult) -> str:
    """A row per policy, as the command prints it. The hardest value met is marked where policies
    differ in it.
    """
    policy, *columns = capacity_heads(found)
    lines = []
    for position, answer in enumerate(found.answers):
        name, met, *others = capacity_cells(found, answer)
        is_best = answer.met is not None and answer.met.value == found.best
        lines.append(
            Line([name], [TableCell(met, is_best), *map(TableCell, others)], position == 0)
        )
    return table("answers", [policy], columns, lines)


def validation_table(policies: Mapping[str, Mapping[str, Any]]) -> str:
    """Measured and simulated figures of every policy that was validated."""
    lines = []
    for name, found in policies.items():
        for position, figure in enumerate(found["figures"]):
            write, error = _writer(figure), figure["error"]
            values = (figure["measured"], figure["simulated"])
            unit = "points" if figure["is_share"] else "%"
            texts = ["n/a" if value is None else write(value) for value in values]
            texts.append("n/a" if error is None else f"{100 * error:+.1f} {unit}")
            lines.append(Line([name, figure["name"]], list(map(TableCell, texts)), not position))
    columns = ["measured", "simulated", "error"]
    return table("measured and simulated", ["policy", "figure"], columns, lines)


def _writer(figure: Mapping[str, Any]) -> Callable[[float], str]:
    if figure["is_share"]:
        return percent
    return format_bytes if figure["name"].endswith("bytes") else format_seconds
