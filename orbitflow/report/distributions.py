"""Charts of times: distributions of TTFT, TPOT and TBT, and predicted against measured passes.

In a distribution of n values the k-th smallest is drawn at the share k / n. More than `POINTS`
values are drawn as that many quantiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.report.chart import SECONDS_LABEL, WIDTH, Chart, Columns, chart, numbers, ticks_s
from orbitflow.report.theme import Series, color, dash, shape
from orbitflow.units import format_seconds

POINTS = 240
MOST_SERIES = 12
MOST_PASSES = 600  # drawn per policy
_PANELS = (("by_profile_s", "by the profile"), ("believed_s", "as the policy believed"))
_SHORTEST_S = 1e-5  # where a logarithmic axis begins


def distributions(series: Sequence[Series], tbt_limit_s: float) -> list[Chart]:
    """One chart each of TTFT, TPOT and TBT , save where nothing was measured."""
    requests = [one.policy.files.requests for one in series]
    many = any(len(columns["id"]) > POINTS for columns in requests)
    thinned = f" Drawn from {POINTS} quantiles where there are more values." if many else ""
    pace = f"The dashed line is the SLO's time between tokens, {format_seconds(tbt_limit_s)}."
    found = [
        _chart(
            "Time to first token",
            "TTFT, as a share of all requests: a curve that ends below 100 % belongs to a policy "
            f"under which some failed. Limits differ by prompt.{thinned}",
            series,
            lambda n: _of_values(requests[n]["ttft_s"], of_all=True),
            None,
        ),
        _chart(
            "Time per output token",
            f"TPOT: mean gap between a completed request's tokens. {pace}{thinned}",
            series,
            lambda n: _of_values(requests[n]["tpot_s"]),
            tbt_limit_s,
        ),
        _chart(
            "Time between tokens",
            "TBT: all gaps between tokens of completed requests, as generated, before any pacing. "
            f"{pace} Drawn from 231 quantiles, denser towards the longest.",
            series,
            lambda n: _of_gaps(series[n].policy.files.gaps()),
            tbt_limit_s,
        ),
    ]
    return [one for one in found if one is not None]


def _of_values(values: FloatArray, *, of_all: bool = False) -> tuple[FloatArray, FloatArray]:
    known = np.sort(values[~np.isnan(values)])
    shares = np.arange(1, len(known) + 1) / max(1, len(values) if of_all else len(known))
    if len(known) > POINTS:
        at = np.unique(np.linspace(0, len(known) - 1, POINTS).round().astype(int))
        known, shares = known[at], shares[at]
    return known, shares


def _of_gaps(gaps: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    return gaps["tbt_s"], gaps["share"]


def _chart(
    title: str,
    caption: str,
    series: Sequence[Series],
    points: Callable[[int], tuple[FloatArray, FloatArray]],
    limit_s: float | None,
) -> Chart | None:
    import altair as alt

    looks = {one.name: one.look for one in series}
    curves = [
        (one.name, np.maximum(times, _SHORTEST_S), share)
        for one, (times, share) in zip(series, map(points, range(len(series))), strict=True)
        if len(times)
    ]
    if not curves:
        return None
    ends = [float(end) for _, times, _ in curves for end in (times[0], times[-1])]
    low, high = _domain([*ends, *([] if limit_s is None else [limit_s])])
    names = [name for name, times, _ in curves for _ in range(len(times) + 2)]
    seconds = np.concatenate([[times[0], *times, high] for _, times, _ in curves])
    shares = np.concatenate([[0.0, *share, share[-1]] for _, _, share in curves])
    x = alt.X(
        "s:Q",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(values=ticks_s(low, high), labelExpr=SECONDS_LABEL, grid=True),
        title=None,
    )
    drawn: Any = (
        alt.Chart(alt.NamedData(name="ecdf"))
        .mark_line(interpolate="step-after", strokeWidth=1.8, clip=True)
        .encode(
            x=x,
            y=alt.Y(
                "share:Q",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format=".0%"),
                title="share up to that time",
            ),
            color=color(looks),
            strokeDash=dash(looks),
            order=alt.Order("order:Q"),
        )
    )
    data: dict[str, Columns] = {
        "ecdf": {
            "series": names,
            "s": numbers(seconds),
            "share": numbers(shares),
            "order": list(range(len(names))),
        }
    }
    if limit_s is not None:
        data["limit"] = {"s": numbers([limit_s])}
        rule = alt.Chart(alt.NamedData(name="limit")).mark_rule(
            strokeDash=[3, 3], strokeWidth=1.5, color="var(--ink)"
        )
        drawn = drawn + rule.encode(x=x)
    drawn = drawn.properties(width=WIDTH - 80, height=230)
    return chart(title, caption, drawn, data)


def _domain(seconds: Sequence[float]) -> tuple[float, float]:
    """Where an axis of these times begins and ends; it spans a factor of two at least."""
    low, high = min(seconds), max(seconds)
    room = max(1.1, (2 * low / high) ** 0.5)
    return low / room, high * room


def pass_times(series: Sequence[Series]) -> Chart | None:
    """A point per pass at its measured and its predicted time; None if no run was validated."""
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
        at = np.unique(np.linspace(0, count - 1, min(count, MOST_PASSES)).round().astype(int))
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
    caption += f" At most {MOST_PASSES} passes of each policy are drawn, evenly chosen."
    data = {"passes": columns, "right": {"measured": ends, "predicted": ends}}
    return chart(
        "Predicted and measured pass times", caption, alt.hconcat(*panels, spacing=30), data
    )
