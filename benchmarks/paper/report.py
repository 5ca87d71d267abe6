"""What the study of the paper comes to: `summary.json`, and `paper.md` for people.

Both are made from the rows alone, so the same rows give the same bytes. `docs/formats.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from benchmarks.paper.compare import Compared
from benchmarks.paper.experiments import Figure, Named, Scope
from benchmarks.paper.measured import Measured, quotient
from benchmarks.paper.metrics import EVERY, Metric
from benchmarks.paper.points import Point
from benchmarks.paper.systems import System
from orbitflow import __version__
from orbitflow.study.statistics import Estimate

SCHEMA_VERSION = 1
ACCOUNTING = (
    "Paper's accounting: a token's time is that of its decode pass (queues, prompts and pauses "
    "between passes are not counted), a late one counts once however late, tokens of refused "
    "requests are late, and only OrbitFlow banks early tokens.",
    "Fair accounting: wall-clock emission, so queues, prompts and pauses count; early tokens are "
    "banked for everybody; timely share, over requests that are served, is 100 % if every token is "
    "delivered by its deadline; TTFT and SLO attainment count all.",
    "Not as in the paper: arrivals are in seconds for everybody (one engine step = the pass of a "
    "full GPU), where the paper counts steps of the served system, which sends a slow system its "
    "load more slowly. All systems share one data plane and one model of the machine (published "
    "line fits). Percentiles are of pass times; the paper divides them by the SLO.",
)


def value_of(measured: Measured, point: Point, metric: Metric) -> Estimate | None:
    """A metric of a point."""
    if metric.per is None:
        return measured.of(point, metric.figure)
    return measured.paired(point, point, metric.figure, quotient, other=metric.per)


def summary(
    scope: Scope,
    figures: Sequence[Figure],
    measured: Measured,
    rows: Sequence[Compared],
    failed: int,
) -> dict[str, object]:
    """The content of `summary.json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "study": "paper",
        "scope": scope._asdict(),
        "failed": failed,
        "compared": [_compared(row) for row in rows],
        "figures": [_figure(figure, measured) for figure in figures],
    }


def markdown(
    scope: Scope,
    figures: Sequence[Figure],
    measured: Measured,
    rows: Sequence[Compared],
    remarks: Iterable[str],
) -> str:
    """The content of `paper.md`: what was run, numbers beside numbers, then every figure."""
    lines = [
        "# The OrbitFlow paper's evaluation, run again",
        "",
        f"Simulated by orbitflow {__version__}: {scope.seeds} workloads of {scope.requests} "
        "requests for each point, drawn by the paper's recipe (arXiv 2601.10729); mean ± half of "
        "the 95 % interval over them.",
        "",
        *(f"* {line}" for line in (*ACCOUNTING, *remarks)),
        "",
        "## Published numbers beside ours",
        "",
        *comparison_table(rows),
    ]
    for figure in figures:
        lines += ["", f"## {figure.title}", ""]
        if figure.note:
            lines += [figure.note, ""]
        lines += _tables(figure, measured)
    return "\n".join(lines) + "\n"


def comparison_table(rows: Sequence[Compared]) -> list[str]:
    """The published numbers beside ours, as lines of markdown."""
    lines = _head(
        ["where", "what", "published", "ours, its accounting", "ours, fair", "agrees", ""]
    )
    for row in rows:
        cells = [
            row.published.where,
            row.published.what,
            row.published.shown,
            shown(row.papers),
            shown(row.fair),
            str(row.verdict),
            row.sentence,
        ]
        lines.append(_line(cells))
    return lines


def shown(value: Estimate | None) -> str:
    """A number beside a published one."""
    if value is None:
        return "n/a"
    if value.half_width is None:
        return f"{value.mean:.3g}"
    digits = ".2g" if value.half_width < 10 else ".0f"
    return f"{value.mean:.3g} ± {value.half_width:{digits}}"


def _tables(figure: Figure, measured: Measured) -> list[str]:
    lines: list[str] = []
    several = len(figure.columns) > 1
    for metric in _metrics(figure) if several else ():
        lines += [f"{metric.title}:", ""]
        lines += _head(["", *_labels(figure)])
        for system in figure.systems:
            values = [
                metric.write(value_of(measured, Point(system, named.setting), metric))
                for named in _columns(figure)
            ]
            lines.append(_line([_title(system), *values]))
        lines.append("")
    if not several:
        metrics = _metrics(figure)
        lines += _head(["", *(metric.title for metric in metrics)])
        for system in figure.systems:
            point = Point(system, _columns(figure)[0].setting)
            written = [metric.write(value_of(measured, point, metric)) for metric in metrics]
            lines.append(_line([_title(system), *written]))
    return lines


def _metrics(figure: Figure) -> list[Metric]:
    return list(dict.fromkeys((*figure.metrics, *EVERY)))


def _columns(figure: Figure) -> list[Named]:
    return [named for _, columns in figure.sections for named in columns]


def _labels(figure: Figure) -> list[str]:
    return [
        f"{section}, {named.label}" if section else named.label
        for section, columns in figure.sections
        for named in columns
    ]


def _title(system: System) -> str:
    options = " ".join(
        f"--{key.replace('_', '-')}" + ("" if value is True else f" {value}")
        for key, value in system.options
    )
    return f"{system.title} (`{' '.join([system.policy, options]).strip()}`)"


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _compared(row: Compared) -> dict[str, object]:
    published = row.published
    return {
        "key": published.key,
        "where": published.where,
        "what": published.what,
        "unit": published.unit,
        "published": {"low": published.low, "high": None if published.is_floor else published.high},
        "papers_accounting": _estimate(row.papers),
        "fair_accounting": _estimate(row.fair),
        "verdict": str(row.verdict),
        "sentence": row.sentence,
    }


def _figure(figure: Figure, measured: Measured) -> dict[str, object]:
    points = [
        {
            "section": section or None,
            "column": named.label,
            "system": system.title,
            "policy": system.policy,
            "options": dict(system.options),
            "setting": asdict(named.setting),
            "seeds": measured.runs(Point(system, named.setting)),
            "figures": {
                metric.figure if metric.per is None else f"{metric.figure} / {metric.per}":
                _estimate(value_of(measured, Point(system, named.setting), metric))
                for metric in _metrics(figure)
            },
        }
        for section, columns in figure.sections
        for named in columns
        for system in figure.systems
    ]  # fmt: skip
    return {"key": figure.key, "title": figure.title, "note": figure.note or None, "points": points}


def _estimate(value: Estimate | None) -> dict[str, object] | None:
    return None if value is None else value._asdict()
