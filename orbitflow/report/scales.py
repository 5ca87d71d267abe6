"""The scales that charts of policies share: colour, dash and shape by series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbitflow.report.theme import Look

if TYPE_CHECKING:
    import altair as alt


def color(looks: Mapping[str, Look], *, legend: bool = True, points: bool = False) -> alt.Color:
    """Colours of series by name."""
    import altair as alt

    scale = alt.Scale(domain=list(looks), range=[look.color for look in looks.values()])
    return alt.Color(
        "series:N", scale=scale, title=None, legend=_legend(points=points) if legend else None
    )


def dash(looks: Mapping[str, Look]) -> alt.StrokeDash:
    """Dashes of series by name."""
    import altair as alt

    scale = alt.Scale(domain=list(looks), range=[list(look.dash) for look in looks.values()])
    return alt.StrokeDash("series:N", scale=scale, title=None, legend=_legend())


def shape(looks: Mapping[str, Look]) -> alt.Shape:
    """Shapes of points by series."""
    import altair as alt

    scale = alt.Scale(domain=list(looks), range=[look.shape for look in looks.values()])
    return alt.Shape("series:N", scale=scale, title=None, legend=_legend(points=True))


def _legend(*, points: bool = False) -> alt.Legend:
    import altair as alt

    if points:
        return alt.Legend(orient="top", columns=4, symbolSize=80)
    return alt.Legend(orient="top", columns=4, symbolType="stroke")
