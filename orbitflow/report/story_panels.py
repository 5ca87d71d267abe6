"""The panels of a story, one under the other on one time axis, as a form to be filled in.

Names like ``@top-GPU`` stand for what differs between policies.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from orbitflow.report.chart import WIDTH, Drawing, to_spec

if TYPE_CHECKING:
    import altair as alt

STATES = ("running", "parked", "waiting")
KV = ("GPU", "host")
_STATE_COLORS = tuple(f"var(--state-{number})" for number in range(len(STATES)))
_STATE_DASHES = ([1, 0], [6, 3], [2, 2])
_COLOR = "@color"
_WIDTH = WIDTH - 150
_GAP = 34  # pixels between panels, room for a title
_PERCENT = ".0%"


@cache
def story_form(*, banks: bool) -> dict[str, Any]:
    """The specification; with a panel of the deposit, if the policy's early tokens are banked."""
    import altair as alt

    panels = [_states(), *(_amount(name) for name in KV), _area("link", "link to the GPU busy")]
    if banks:
        panels.append(_area("bank", "tokens in the deposit: generated, not yet due to the reader"))
    panels.append(_area("plans", "@plans", last=True))
    stacked = alt.vconcat(*panels, spacing=_GAP, bounds="flush")
    return to_spec(stacked.resolve_scale(color="independent", strokeDash="independent"))


def _states() -> Drawing:
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
    """KV held beside what there is room for, which may be beyond the panel: then it has no data."""
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
