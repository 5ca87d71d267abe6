"""What a study was about, against each of its keys that has numbers: rate, SLO scale, link speed.

A search was about its objective, a capacity question about its targets, a grid about attainment.
Keys that were drawn or bisected by their ratio have logarithmic axes. The other keys of a grid
split a chart into panels; error bars are 95 % intervals over the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orbitflow.report.chart import SECONDS_LABEL, WIDTH, Chart, chart, numbers, ticks_of_ratios
from orbitflow.report.read_studies import BOUND, ReportStudy, StudyCell
from orbitflow.report.tables import columns_of, key_name
from orbitflow.report.theme import Look, color, shape
from orbitflow.results.figures import ATTAINMENTS
from orbitflow.study.figures import Kind, kind_of
from orbitflow.study.keys import Value, key_text
from orbitflow.study.statistics import Estimate
from orbitflow.units import GIB

if TYPE_CHECKING:
    import altair as alt

MOST_PANELS = 12
_NUMBER_LABEL = "format(datum.value, '~g')"
_GIB_LABEL = f"format(datum.value / {GIB}, '~g') + ' GiB'"
_BOUND_LOOK = Look("var(--ink)", (2, 3), "stroke")


def study_charts(study: ReportStudy, looks: Mapping[str, Look]) -> list[Chart]:
    """One chart per numeric key and figure."""
    columns = [column for column in columns_of(study) if column.path[0] in study.sought]
    found = []
    for key in study.keys:
        values = study.grid[key]
        if len(values) > 1 and all(_is_number(value) for value in values):
            shown = columns or ATTAINMENTS[:2]
            found += [_chart(study, key, column.title, column.path[0], looks) for column in shown]
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
    ends = [_ends(figure, estimate) for _, _, estimate in rows]
    data: Mapping[str, Any] = {
        "series": [cell.policy for cell, _, _ in rows],
        "panel": [panel for _, panel, _ in rows],
        "x": numbers([float(dict(cell.others)[key]) * factor for cell, _, _ in rows]),
        "mean": numbers([estimate.mean for _, _, estimate in rows]),
        "low": numbers([low for low, _ in ends]),
        "high": numbers([high for _, high in ends]),
    }
    columns = min(3, len(shown))
    ticks = alt.Axis(labelExpr=_NUMBER_LABEL)
    if study.is_log(key):
        round_ones = ticks_of_ratios(min(data["x"]), max(data["x"]))
        if len(round_ones) > 1:
            ticks.values = round_ones
    elif study.simulations is not None:
        ticks.values = [float(f"{float(value) * factor:.5g}") for value in study.grid[key]]
    base = alt.Chart(alt.NamedData(name="cells")).encode(
        x=alt.X("x:Q", title=key_name(key) + unit, scale=_scale(study, key), axis=ticks),
        color=color(used, points=True),
    )
    scale, labels = _axis_of(figure)
    y = alt.Y("mean:Q", title=title, scale=scale, axis=labels)
    line = base.mark_line(strokeWidth=1.8).encode(y=y)
    bars = base.mark_rule(strokeWidth=1.2).encode(
        y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q"
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


def _ends(figure: str, value: Estimate) -> tuple[float, float]:
    """The interval, as far as the figure can go."""
    half = value.half_width or 0.0
    most = 1.0 if kind_of(figure) is Kind.SHARE else math.inf
    return max(0.0, value.mean - half), min(most, value.mean + half)


def _scale(study: ReportStudy, key: str) -> alt.Scale:
    import altair as alt

    if study.is_log(key):
        return alt.Scale(type="log", nice=False, padding=12)
    return alt.Scale(zero=False, padding=12)


def _axis_of(figure: str) -> tuple[alt.Scale, alt.Axis]:
    """The scale of a figure and its labels: shares in full, of others what there is."""
    import altair as alt

    kind = kind_of(figure)
    if kind is Kind.SHARE:
        return alt.Scale(domain=[0, 1]), alt.Axis(format=".0%")
    labels = {Kind.SECONDS: SECONDS_LABEL, Kind.BYTES: _GIB_LABEL}
    return alt.Scale(zero=False), alt.Axis(labelExpr=labels.get(kind, _NUMBER_LABEL))


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
