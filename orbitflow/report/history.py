"""What one policy did over time, in panels that share their axis.

The specification is a form, made once for all policies. Names like ``@top-GPU`` in it stand for
what differs between policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.report.chart import (
    WIDTH,
    AxisUnit,
    Chart,
    Column,
    Columns,
    Drawing,
    fill,
    numbers,
    to_spec,
)
from orbitflow.report.read_files import LoggedDecision
from orbitflow.report.read_runs import ReportRun
from orbitflow.report.theme import Series
from orbitflow.report.timelines import BUCKETS, Band, History, deposit_history, history
from orbitflow.units import GIB, format_seconds

if TYPE_CHECKING:
    import altair as alt

STATES = ("running", "paused", "waiting")
KV = ("GPU", "host")
_STATE_COLORS = tuple(f"var(--state-{number})" for number in range(len(STATES)))
_STATE_DASHES = ([1, 0], [6, 3], [2, 2])
_COLOR = "@color"
_WIDTH = WIDTH - 150
_GAP = 34  # pixels between panels, room for a title
_PERCENT = ".0%"
_NEAR = 4.0  # a capacity beyond so many times what is held would flatten its panel


def history_chart(
    series: Series,
    steps: Mapping[str, npt.NDArray[Any]],
    requests: Mapping[str, FloatArray],
    decisions: Sequence[LoggedDecision],
    replans_s: Sequence[float],
) -> Chart | None:
    """The panels of one policy; None where there is no step."""
    if not len(steps["start_s"]):
        return None
    past = history(steps, requests, decisions)
    edges = past.edges_s
    span_s = float(edges[-1] - edges[0])
    bucket = format_seconds(span_s / BUCKETS)
    unit = AxisUnit(span_s)
    middle = numbers((edges[:-1] + edges[1:]) / 2 / unit.seconds)
    values: dict[str, Any] = {
        "@color": series.look.color,
        "@time": f"time, {unit.name}",
        "@first": float(edges[0]) / unit.seconds,
        "@last": float(edges[-1]) / unit.seconds,
        "@plans": f"re-plans per {bucket}",
        "@top-link": 1.0,
    }
    counts, _ = np.histogram(np.array(replans_s), edges)
    data: dict[str, Columns] = {
        "states": _states(middle, (past.running, past.paused, past.waiting)),
        "link": {"t": middle, "mean": numbers(past.link_busy)},
        "plans": {"t": middle, "mean": numbers(counts)},
    }
    _add_kv(values, data, middle, past, series.run)
    caption = (
        f"{past.steps:,} steps in {BUCKETS} buckets of {bucket}: lines are means, the shade "
        "reaches up to the largest value. KV counts as held once it is reserved. A re-plan is a "
        f"decision that moves layers of a running request: {len(replans_s):,} of "
        f"{len(decisions):,} decisions."
    )
    with_deposit = bool(series.policy.figures.get("deposit"))
    if with_deposit:
        found = deposit_history(requests, steps, decisions, edges[1:])
        data["deposit"] = {"t": middle, "mean": numbers(found.tokens)}
        if found.left_out:
            caption += f" The deposit lacks {found.left_out:,} requests, prefilled more than once."
    values |= {f"@top-{name}": _top(data[name]) for name in data if f"@top-{name}" not in values}
    title = f"{series.name} over time"
    spec = {"description": title, **fill(_form(with_deposit=with_deposit), values)}
    return Chart(title, caption, spec, data)


def _add_kv(
    values: dict[str, Any],
    data: dict[str, Columns],
    middle: Column,
    past: History,
    run: ReportRun,
) -> None:
    """Add KV held on the GPU and on the host, in GiB, beside the capacities."""
    gib = run.page_bytes / GIB
    profile = run.summary["profile"]
    gpu_pages = profile["kv_capacity_tokens"] // profile["page_tokens"] * profile["layers"]
    bands = (past.gpu_pages, past.host_pages)
    for name, band, room in zip(KV, bands, (gpu_pages, profile.get("host_pages")), strict=True):
        shown = room if room is not None and room <= _NEAR * band.most.max() else None
        far = "" if room is None or shown is not None else f" (capacity {room * gib:,.3g})"
        values[f"@{name}"] = f"KV on the {name}, GiB{far}"
        data[name] = _band(middle, band, gib)
        rooms = [] if shown is None else numbers([shown * gib])
        data[f"{name}-room"] = {"y": rooms, "text": ["capacity"] * len(rooms)}
        values[f"@top-{name}"] = max(_top(data[name]), 1.05 * (shown or 0) * gib)


def _states(middle: Sequence[float | None], bands: Sequence[Band]) -> Columns:
    return {
        "t": [t for _ in bands for t in middle],
        "series": [name for name in STATES for _ in middle],
        "mean": [v for band in bands for v in numbers(band.mean)],
        "most": [v for band in bands for v in numbers(band.most)],
    }


def _band(middle: Column, band: Band, factor: float) -> Columns:
    return {"t": middle, "mean": numbers(band.mean * factor), "most": numbers(band.most * factor)}


def _top(columns: Columns) -> float:
    """The end of an axis from 0: a little above the largest value, and above 0."""
    values = [v for v in columns.get("most", columns.get("mean", ())) if isinstance(v, int | float)]
    return 1.05 * max(values, default=0.0) or 1.0


@cache
def _form(*, with_deposit: bool) -> dict[str, Any]:
    """The specification, with a panel of the deposit where the policy has one."""
    import altair as alt

    panels = [
        _states_panel(),
        *(_amount(name) for name in KV),
        _area("link", "link to the GPU busy"),
    ]
    if with_deposit:
        panels.append(_area("deposit", "tokens in the deposit: generated, not yet delivered"))
    panels.append(_area("plans", "@plans", last=True))
    stacked = alt.vconcat(*panels, spacing=_GAP, bounds="flush")
    return to_spec(stacked.resolve_scale(color="independent", strokeDash="independent"))


def _states_panel() -> Drawing:
    """How many requests are in each state."""
    import altair as alt

    base = alt.Chart(alt.NamedData(name="states")).encode(x=_x(), y=_y("mean:Q", "states"))
    legend = alt.Legend(orient="right", symbolType="stroke", symbolOpacity=1)
    names = list(STATES)
    hues = alt.Scale(domain=names, range=list(_STATE_COLORS))
    dashes = alt.Scale(domain=names, range=list(_STATE_DASHES))
    hue = alt.Color("series:N", scale=hues, title=None, legend=legend)
    shade = base.mark_area(opacity=0.14).encode(y2="most:Q", color=hue)
    line = base.mark_line(strokeWidth=1.6).encode(
        color=hue,
        strokeDash=alt.StrokeDash("series:N", scale=dashes, title=None, legend=legend),
    )
    title = f"requests {', '.join(STATES)}"
    return alt.layer(shade, line).properties(width=_WIDTH, height=130, title=title)


def _amount(name: str) -> Drawing:
    """KV held, and the capacity unless it is far beyond the panel."""
    import altair as alt

    base = alt.Chart(alt.NamedData(name=name)).encode(x=_x(), y=_y("mean:Q", name))
    limit = alt.Chart(alt.NamedData(name=f"{name}-room")).encode(y=_y("y:Q", name))
    text = limit.mark_text(align="left", dx=6, color="var(--ink)")
    return alt.layer(
        base.mark_area(opacity=0.2, color=_COLOR).encode(y2="most:Q"),
        base.mark_line(strokeWidth=1.6, color=_COLOR),
        limit.mark_rule(strokeDash=[5, 3], color="var(--ink)"),
        text.encode(x=alt.value(_WIDTH), text="text:N"),
    ).properties(width=_WIDTH, height=80, title=f"@{name}")


def _area(name: str, title: str, *, last: bool = False) -> Drawing:
    """A quantity from zero."""
    import altair as alt

    line = {"strokeWidth": 1.2, "color": _COLOR}
    return (
        alt.Chart(alt.NamedData(name=name))
        .mark_area(line=line, fillOpacity=0.3, color=_COLOR, clip=True)
        .encode(x=_x(shown=last), y=_y("mean:Q", name))
        .properties(width=_WIDTH, height=64, title=title)
    )


def _x(*, shown: bool = False) -> alt.X:
    """The axis that all panels share; only the last one shows it."""
    import altair as alt

    return alt.X(
        "t:Q",
        scale=alt.Scale(domain=["@first", "@last"], nice=False),
        axis=alt.Axis(labels=shown, ticks=shown, grid=True, tickCount=14),
        title="@time" if shown else None,
    )


def _y(field: str, name: str) -> alt.Y:
    import altair as alt

    share = name == "link"
    axis = alt.Axis(
        tickCount=2 if share else 4,
        minExtent=46,
        maxExtent=46,
        format=_PERCENT if share else ",~r",
    )
    scale = alt.Scale(domain=[0, f"@top-{name}"], nice=False)
    return alt.Y(field, title=None, axis=axis, scale=scale)
