"""The tables of a page, as HTML. The best of a column is marked among rows that may be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

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
from orbitflow.study.keys import Value, key_text
from orbitflow.study.statistics import Estimate, number, seconds, share, writer
from orbitflow.units import format_bytes, format_seconds

_SHORT = ("slo", "ttft", "tbt", "kv", "gpu")


def service_table(series: Sequence[Series]) -> str:
    """What users felt: a row for every policy of every run, those of equal workload together."""
    return _policy_table("what users felt", SERVICE, series)


def machine_table(series: Sequence[Series]) -> str:
    """What it took of the machine, in the same rows."""
    return _policy_table("what it took of the machine", MACHINE, series)


def _policy_table(name: str, all_columns: Sequence[FigureColumn], series: Sequence[Series]) -> str:
    groups: dict[tuple[object, ...], list[Series]] = {}
    for one in series:
        groups.setdefault(one.run.workload, []).append(one)
    several = len({one.run.label for one in series}) > 1
    columns = [
        c for c in all_columns if any(c.of(one.policy.figures) is not None for one in series)
    ]
    lines = []
    for members in groups.values():
        best = _best(columns, members)
        for position, one in enumerate(members):
            cells = [_cell(c, c.of(one.policy.figures), best.get(c.title)) for c in columns]
            lossy = " (lossy)" if one.policy.figures.get("lossy") else ""
            heads = [one.policy.name + lossy, *([one.run.label] if several else [])]
            lines.append(Line(heads, cells, position == 0))
        if all_columns is SERVICE:
            lines += _bound_lines(columns, members, several=several)
    heads = ["policy", *(["run"] if several else [])]
    return table(name, heads, [column.title for column in columns], lines)


def _best(columns: Iterable[FigureColumn], members: Sequence[Series]) -> dict[str, str]:
    found = {}
    for column in columns:
        known = [v for one in members if (v := column.of(one.policy.figures)) is not None]
        text = column.best and best_as_written(known, column.write, column.best)
        if text is not None:
            found[column.title] = text
    return found


def _bound_lines(
    columns: Sequence[FigureColumn], members: Sequence[Series], *, several: bool
) -> list[Line]:
    lines = []
    for run in {one.run.label: one.run for one in members}.values():
        if (bound := run.summary.get("bound")) is not None:
            cells = [
                _cell(c, bound.get(c.path[0]) if len(c.path) == 1 else "", None) for c in columns
            ]
            lines.append(Line(["upper bound", *([run.label] if several else [])], cells, False))
    return lines


def _cell(column: FigureColumn, value: Any, best: str | None) -> str:
    if value == "":
        return "<td></td>"
    if value is None:
        return "<td>n/a</td>"
    if column.write(value) == best:
        return f"<td{BEST}>{escape(column.write(value))} {STAR}</td>"
    return f"<td>{escape(column.write(value))}</td>"


def study_table(study: ReportStudy) -> str:
    """A row per cell; the best is marked among policies of equal other keys, or among trials."""
    columns = columns_of(study)
    groups: dict[tuple[tuple[str, Value], ...], list[StudyCell]] = {}
    for cell in study.cells:
        groups.setdefault(() if study.search else cell.others, []).append(cell)
    lines = []
    for members in groups.values():
        best = _best_of_cells(columns, members)
        for position, cell in enumerate(members):
            values = dict(cell.others)
            keys = [key_text(key, values.get(key)) for key in study.keys]
            lossy = " (lossy)" if cell.lossy else ""
            cells = [_study_cell(c, cell, best.get(c.title)) for c in columns]
            lines.append(Line([*keys, cell.policy + lossy], cells, position == 0))
    heads = [*(key_name(key) for key in study.keys), "policy"]
    return table("cells", heads, [column.title for column in columns], lines)


def columns_of(study: ReportStudy) -> list[FigureColumn]:
    """The usual figures, after those that the study was about if they are others."""
    usual = [
        *(FigureColumn(c.title, c.path, share, max) for c in ATTAINMENTS),
        FigureColumn("goodput, req/s", ("goodput_rps",), number, max),
        FigureColumn("TTFT p95", ("ttft_s.p95",), seconds, min),
        FigureColumn("TBT p99", ("tbt_s.p99",), seconds, min),
        FigureColumn("makespan", ("makespan_s",), seconds, min),
    ]
    known = {column.path[0] for column in usual}
    others = [
        FigureColumn(figure, (figure,), writer(figure), max if is_maximized else min)
        for figure, is_maximized in study.sought.items()
        if figure not in known
    ]
    return [*others, *usual]


def _best_of_cells(columns: Iterable[FigureColumn], members: Sequence[StudyCell]) -> dict[str, str]:
    found = {}
    for column in columns:
        name = column.path[0]
        known = [c.figures[name].mean for c in members if name in c.figures and c.policy != BOUND]
        write = partial(_mean_of, column)
        text = column.best and best_as_written(known, write, column.best)
        if text is not None:
            found[column.title] = text
    return found


def _mean_of(column: FigureColumn, mean: float) -> str:
    """How a column writes a mean without its interval."""
    return column.write(Estimate(mean, None))


def _study_cell(column: FigureColumn, cell: StudyCell, best: str | None) -> str:
    value = cell.figures.get(column.path[0])
    if value is None:
        missing = "failed" if not cell.ok else "" if cell.policy == BOUND else "n/a"
        return f"<td>{missing}</td>"
    star = f" {STAR}" if best == _mean_of(column, value.mean) and cell.policy != BOUND else ""
    return f"<td{BEST if star else ''}>{escape(column.write(value))}{star}</td>"


def key_name(key: str) -> str:
    """A key of a grid for people."""
    words = key.removesuffix("_bytes").removesuffix("_s").split("_")
    return " ".join(word.upper() if word in _SHORT else word for word in words)


def validation_table(policies: Mapping[str, Mapping[str, Any]]) -> str:
    """Measured and simulated figures of every policy that was validated."""
    lines = []
    for name, found in policies.items():
        for position, figure in enumerate(found["figures"]):
            measured, simulated = figure["measured"], figure["simulated"]
            write = _writer(figure)
            error = figure["error"]
            cells = [
                f"<td>{'n/a' if value is None else escape(write(value))}</td>"
                for value in (measured, simulated)
            ]
            unit = " points" if figure["is_share"] else " %"
            text = "n/a" if error is None else f"{100 * error:+.1f}{unit}"
            lines.append(Line([name, figure["name"]], [*cells, f"<td>{text}</td>"], not position))
    columns = ["measured", "simulated", "error"]
    return table("measured and simulated", ["policy", "figure"], columns, lines)


def _writer(figure: Mapping[str, Any]) -> Callable[[float], str]:
    if figure["is_share"]:
        return percent
    return format_bytes if figure["name"].endswith("bytes") else format_seconds
