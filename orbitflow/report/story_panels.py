"""The panels of a story, one under the other on one time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitflow.report.chart import WIDTH, Column, Columns, Drawing

if TYPE_CHECKING:
    import altair as alt

STATES = ("running", "parked", "waiting")
_STATE_COLORS = ("var(--hue-2)", "var(--hue-3)", "var(--hue-1)")
_STATE_DASHES = ([1, 0], [6, 3], [2, 2])
_PLAIN = "var(--hue-2)"
_WIDTH = WIDTH - 150
_GAP = 34  # pixels between panels, room for a title
_PERCENT = ".0%"


class TimeAxis(NamedTuple):
    """The axis that all panels share; only the last panel shows it."""

    title: str
    first: float
    last: float

    def x(self, *, shown: bool = False) -> alt.X:
        """The channel."""
        import altair as alt

        return alt.X(
            "t:Q",
            scale=alt.Scale(domain=[self.first, self.last], nice=False),
            axis=alt.Axis(labels=shown, ticks=shown, grid=True),
            title=self.title if shown else None,
        )


def states(axis: TimeAxis, name: str, columns: Columns) -> Drawing:
    """How many requests are in each state."""
    import altair as alt

    base = alt.Chart(alt.NamedData(name=name)).encode(x=axis.x())
    legend = alt.Legend(orient="right", symbolType="stroke", symbolOpacity=1)
    names = list(STATES)
    hues = alt.Scale(domain=names, range=list(_STATE_COLORS))
    dashes = alt.Scale(domain=names, range=list(_STATE_DASHES))
    hue = alt.Color("series:N", scale=hues, title=None, legend=legend)
    y = _y("mean:Q", _top(columns))
    shade = base.mark_area(opacity=0.14).encode(y=y, y2="most:Q", color=hue)
    line = base.mark_line(strokeWidth=1.6).encode(
        y=y,
        color=hue,
        strokeDash=alt.StrokeDash("series:N", scale=dashes, title=None, legend=legend),
    )
    title = "requests running (decoding), parked, waiting"
    return (shade + line).properties(width=_WIDTH, height=130, title=title)


def amount(
    axis: TimeAxis, name: str, title: str, columns: Columns, capacity: str | None, top: float
) -> Drawing:
    """A quantity beside what there is room for; `capacity` names the data of that."""
    import altair as alt

    top = max(_top(columns), 1.05 * top)
    base = alt.Chart(alt.NamedData(name=name)).encode(x=axis.x())
    layers = [
        base.mark_area(opacity=0.2, color=_PLAIN).encode(y=_y("mean:Q", top), y2="most:Q"),
        base.mark_line(strokeWidth=1.6, color=_PLAIN).encode(y=_y("mean:Q", top)),
    ]
    if capacity is not None:
        limit = alt.Chart(alt.NamedData(name=capacity)).encode(y=_y("y:Q", top))
        layers.append(limit.mark_rule(strokeDash=[5, 3], color="var(--ink)"))
        text = limit.mark_text(align="left", dx=6, color="var(--ink)")
        layers.append(text.encode(x=alt.value(_WIDTH), text="text:N"))
    return alt.layer(*layers).properties(width=_WIDTH, height=80, title=title)


def area(
    axis: TimeAxis,
    name: str,
    title: str,
    columns: Columns,
    *,
    share: bool = False,
    last: bool = False,
) -> Drawing:
    """A quantity from zero."""
    import altair as alt

    y = _y("mean:Q", 1.0, _PERCENT) if share else _y("mean:Q", _top(columns))
    return (
        alt.Chart(alt.NamedData(name=name))
        .mark_area(
            line={"strokeWidth": 1.2, "color": _PLAIN}, fillOpacity=0.3, color=_PLAIN, clip=True
        )
        .encode(x=axis.x(shown=last), y=y)
        .properties(width=_WIDTH, height=64, title=title)
    )


def stack(panels: Sequence[Any]) -> Drawing:
    """Panels, one under the other, their plots as wide as each other."""
    import altair as alt

    stacked = alt.vconcat(*panels, spacing=_GAP, bounds="flush")
    return stacked.resolve_scale(color="independent", strokeDash="independent")


def _y(name: str, top: float, form: str = ",~r") -> alt.Y:
    import altair as alt

    axis = alt.Axis(tickCount=2 if form == _PERCENT else 4, minExtent=46, maxExtent=46, format=form)
    return alt.Y(name, title=None, axis=axis, scale=alt.Scale(domain=[0, top], nice=False))


def _top(columns: Mapping[str, Column]) -> float:
    """Where an axis from 0 ends: a little above the largest value, and above 0."""
    values = [v for v in columns.get("most", columns["mean"]) if isinstance(v, int | float)]
    return 1.05 * max(values, default=0.0) or 1.0
