"""Distributions of TTFT, TPOT and TBT: the share of values up to each time.

Of n values the k-th smallest stands at k / n. Where there are more than `POINTS`, that many
quantiles stand for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.report.chart import SECONDS_LABEL, WIDTH, Chart, Columns, chart, numbers, ticks_s
from orbitflow.report.theme import Series, color, dash
from orbitflow.units import format_seconds

POINTS = 240
MOST_SERIES = 12
_SHORTEST_S = 1e-5  # where a logarithmic axis begins


def distributions(series: Sequence[Series], tau_s: float) -> list[Chart]:
    """One chart each of TTFT, TPOT and TBT of these series, save where nothing was measured."""
    requests = [one.policy.files.requests for one in series]
    many = any(len(columns["id"]) > POINTS for columns in requests)
    thinned = f" Drawn from {POINTS} quantiles where there are more values." if many else ""
    pace = f"The dashed line is the SLO's time between tokens, {format_seconds(tau_s)}."
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
            tau_s,
        ),
        _chart(
            "Time between tokens",
            "TBT: all gaps between tokens of completed requests, as generated, before any pacing. "
            f"{pace} Drawn from 231 quantiles, denser towards the longest.",
            series,
            lambda n: _of_gaps(series[n].policy.files.gaps()),
            tau_s,
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
