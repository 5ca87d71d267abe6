"""A study's attainment against each key of its grid that has numbers: rate, SLO scale, link speed.

The other keys split a chart into panels; error bars are 95 % intervals over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orbitflow.report.chart import WIDTH, Chart, chart, numbers
from orbitflow.report.figures import ATTAINMENTS
from orbitflow.report.scales import color, shape
from orbitflow.report.studies import BOUND, ReportStudy, StudyCell
from orbitflow.report.tables import key_name
from orbitflow.report.theme import Look
from orbitflow.study.keys import Value
from orbitflow.study.written import key_text
from orbitflow.units import GIB

MOST_PANELS = 12
_SHOWN = ATTAINMENTS[:2]
_BOUND_LOOK = Look("var(--ink)", (2, 3), "stroke")


def study_charts(study: ReportStudy, looks: Mapping[str, Look]) -> list[Chart]:
    """One chart per numeric key and figure."""
    found = []
    for key in study.keys:
        values = study.grid[key]
        if len(values) > 1 and all(_is_number(value) for value in values):
            found += [_chart(study, key, column.title, column.path[0], looks) for column in _SHOWN]
    return [one for one in found if one is not None]


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _chart(
    study: ReportStudy, key: str, title: str, figure: str, looks: Mapping[str, Look]
) -> Chart | None:
    import altair as alt

    panels: dict[str, None] = {}
    rows = []
    for cell in study.cells:
        if (estimate := cell.figures.get(figure)) is None or key not in dict(cell.others):
            continue
        panel = "" if study.search else _panel(cell, key)
        panels.setdefault(panel)
        rows.append((cell, panel, estimate))
    shown = list(panels)[:MOST_PANELS]
    rows = [row for row in rows if row[1] in shown]
    if not rows:
        return None
    names = list(dict.fromkeys(cell.policy for cell, _, _ in rows))
    used = {name: _BOUND_LOOK if name == BOUND else looks[name] for name in names}
    unit, factor = _unit(key)
    half = [estimate.half_width or 0.0 for _, _, estimate in rows]
    data: Mapping[str, Any] = {
        "series": [cell.policy for cell, _, _ in rows],
        "panel": [panel for _, panel, _ in rows],
        "x": numbers([float(dict(cell.others)[key]) * factor for cell, _, _ in rows]),
        "mean": numbers([estimate.mean for _, _, estimate in rows]),
        "low": numbers([max(0.0, e.mean - h) for (_, _, e), h in zip(rows, half, strict=True)]),
        "high": numbers([min(1.0, e.mean + h) for (_, _, e), h in zip(rows, half, strict=True)]),
    }
    columns = min(3, len(shown))
    ticks = alt.Axis(labelExpr="format(datum.value, '~g')")
    if study.simulations is not None:
        ticks.values = [float(f"{float(value) * factor:.5g}") for value in study.grid[key]]
    base = alt.Chart(alt.NamedData(name="cells")).encode(
        x=alt.X(
            "x:Q", title=key_name(key) + unit, scale=alt.Scale(zero=False, padding=12), axis=ticks
        ),
        color=color(used, points=True),
    )
    y = alt.Y("mean:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%"))
    line = base.mark_line(strokeWidth=1.8).encode(y=y)
    bars = base.mark_rule(strokeWidth=1.2).encode(
        y=alt.Y("low:Q", title=title, scale=alt.Scale(domain=[0, 1])), y2="high:Q"
    )
    points = base.mark_point(filled=True, size=45).encode(
        y=y, shape=shape(used), tooltip=["series:N", "panel:N", "x:Q", "mean:Q", "low:Q", "high:Q"]
    )
    width = WIDTH // columns - 75 if columns > 1 else WIDTH // 2
    layers = bars + points if study.search else bars + line + points  # trials are on no line
    drawn: Any = layers.properties(width=width, height=200)
    if len(shown) > 1:
        drawn = drawn.facet(
            facet=alt.Facet("panel:N", sort=shown, title=None), columns=columns, spacing=24
        )
    return chart(
        f"{title[0].upper()}{title[1:]} against {key_name(key)}",
        _caption(study, len(panels), len(shown), shown),
        drawn,
        {"cells": data},
    )


def _caption(study: ReportStudy, panels: int, shown: int, names: Sequence[str]) -> str:
    seeds = "one seed, so there are no error bars"
    if study.seeds > 1:
        seeds = f"means over {study.seeds} seeds, bars are 95 % intervals (Student's t)"
    if study.search is not None:
        seeds += "; a point is a trial, of which other keys differ too"
    fixed = "" if len(names) != 1 or not names[0] else f"; {names[0]}"
    left = "" if panels == shown else f"; {shown} of {panels} panels, all cells are in the table"
    return f"{seeds[0].upper()}{seeds[1:]}{fixed}{left}."


def _panel(cell: StudyCell, key: str) -> str:
    others = [(k, v) for k, v in cell.others if k != key]
    return ", ".join(f"{key_name(k)} {key_text(k, v)}" for k, v in others)


def _unit(key: str) -> tuple[str, float]:
    if key.endswith("_bytes"):
        return ", GiB", 1 / GIB
    return (", s", 1.0) if key.endswith("_s") else ("", 1.0)
