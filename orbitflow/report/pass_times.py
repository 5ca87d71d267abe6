"""Predicted against measured pass times, of runs on a backend that were validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitflow.report.chart import SECONDS_LABEL, WIDTH, Chart, chart, numbers, ticks_s
from orbitflow.report.theme import Series, color, shape

MOST_POINTS = 600  # per policy
_PANELS = (("by_profile_s", "by the profile"), ("believed_s", "as the policy believed"))


def pass_times(series: Sequence[Series]) -> Chart | None:
    """A point per pass, measured across and predicted up; None if no run was validated."""
    import altair as alt

    columns: dict[str, list[Any]] = {"series": [], "panel": [], "measured": [], "predicted": []}
    looks = {}
    notes = []
    for one in series:
        passes = one.policy.files.passes()
        if passes is None or not len(passes["measured_s"]):
            continue
        looks[one.name] = one.look
        count = len(passes["measured_s"])
        at = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int))
        errors = []
        for column, panel in _PANELS:
            columns["series"] += [one.name] * len(at)
            columns["panel"] += [panel] * len(at)
            columns["measured"] += numbers(passes["measured_s"][at])
            columns["predicted"] += numbers(passes[column][at])
            error = np.abs(passes[column] / passes["measured_s"] - 1)
            errors.append(f"{100 * float(np.median(error)):.1f} % {panel}")
        notes.append(f"{one.name}: median error {' and '.join(errors)}, {count:,} passes")
    if not looks:
        return None
    times = [t for name in ("measured", "predicted") for t in columns[name] if t and t > 0]
    low, high = min(times) / 1.1, max(times) * 1.1
    ticks = ticks_s(low, high)
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    values = ticks if len(ticks) > 1 else alt.Undefined
    axis = alt.Axis(labelExpr=SECONDS_LABEL, values=values)
    points = (
        alt.Chart(alt.NamedData(name="passes"))
        .mark_point(filled=True, size=16, opacity=0.45, clip=True)
        .encode(
            x=alt.X("measured:Q", scale=scale, axis=axis, title="measured"),
            y=alt.Y("predicted:Q", scale=scale, axis=axis, title="predicted"),
            color=color(looks, points=True),
            shape=shape(looks),
        )
    )
    line = (
        alt.Chart(alt.NamedData(name="right"))
        .mark_line(color="var(--ink)", strokeDash=[4, 3], strokeWidth=1)
        .encode(x=alt.X("measured:Q", scale=scale), y=alt.Y("predicted:Q", scale=scale))
    )
    side = WIDTH // 2 - 90
    panels = [
        (points.transform_filter(f"datum.panel === '{panel}'") + line).properties(
            width=side, height=300, title=panel
        )
        for _, panel in _PANELS
    ]
    ends = numbers([low, high])
    caption = f"On the dashed line the prediction is right. {'; '.join(notes)}."
    caption += f" At most {MOST_POINTS} passes of each policy are drawn, evenly chosen."
    data = {"passes": columns, "right": {"measured": ends, "predicted": ends}}
    return chart(
        "Predicted and measured pass times", caption, alt.hconcat(*panels, spacing=30), data
    )
