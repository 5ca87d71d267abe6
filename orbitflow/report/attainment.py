"""Charts of attainment by policy: bars for a few runs, points over the runs for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orbitflow.report.chart import WIDTH, Chart, chart, numbers
from orbitflow.report.theme import Series, color, shape
from orbitflow.results.figures import ATTAINMENTS, percent
from orbitflow.results.summary import LENGTH_BUCKETS

if TYPE_CHECKING:
    import altair as alt

MOST_BARS = 14  # series; beyond, points over the runs
_PANEL = 190
_LABELS = 230  # pixels for names


def attainment(series: Sequence[Series]) -> Chart:
    """Timely share and SLO, TTFT and TPOT attainment of every policy."""
    panels = [column.title for column in ATTAINMENTS]
    rows = [
        (one, column.title, column.of(one.policy.figures))
        for one in series
        for column in ATTAINMENTS
    ]
    caption = (
        "Timely share: 100 % if every token is delivered by its deadline, less by the time that "
        "tokens are late. The others: shares of all requests that met their limit; SLO is TTFT "
        "and TPOT together."
    )
    if len(series) <= MOST_BARS:
        return _bars("Attainment", caption, panels, rows)
    return _points("Attainment over the runs", caption, panels, rows)


def by_length(series: Sequence[Series]) -> Chart | None:
    """SLO attainment by prompt length; None for one length only, or too many series."""
    lengths: dict[str, int] = {}
    for one in series:
        for name, counts in one.policy.figures.get("by_length", {}).items():
            lengths[name] = max(lengths.get(name, 0), counts["requests"])
    if len(lengths) < 2 or len(series) > MOST_BARS:
        return None
    known = dict.fromkeys([*LENGTH_BUCKETS, *lengths])  # from short to long
    titles = {name: f"{name} ({lengths[name]:,})" for name in known if name in lengths}
    rows = [
        (one, titles[name], counts["slo_attainment"])
        for one in series
        for name, counts in one.policy.figures["by_length"].items()
    ]
    caption = (
        "Share of requests that met both limits, by prompt length in tokens; in brackets how many "
        "requests."
    )
    return _bars("SLO attainment by prompt length", caption, list(titles.values()), rows)


def _bars(
    title: str,
    caption: str,
    panels: Sequence[str],
    rows: Sequence[tuple[Series, str, float | None]],
) -> Chart:
    import altair as alt

    looks = {one.name: one.look for one, _, _ in rows}
    width = min(_PANEL, (WIDTH - _LABELS) // len(panels) - 20)
    base = alt.Chart(alt.NamedData(name="bars")).encode(
        y=alt.Y("series:N", sort=list(looks), title=None),
        x=alt.X(
            "share:Q",
            scale=alt.Scale(domain=[0, 1]),
            axis=_share_axis(),
            title=None,
        ),
        tooltip=["series:N", "figure:N", "label:N"],
    )
    bars = base.mark_bar(height={"band": 0.7}).encode(color=color(looks, legend=False))
    # Right of a short bar, left of the end of a long one, so that no label leaves its panel.
    right = base.transform_filter("datum.share < 0.75").mark_text(align="left", dx=4)
    left = base.transform_filter("datum.share >= 0.75").mark_text(
        align="right", dx=-4, color="var(--on-hue)", fontWeight=600
    )
    drawn = (
        (bars + right.encode(text="label:N") + left.encode(text="label:N"))
        .properties(width=width, height=alt.Step(24))
        .facet(column=alt.Column("figure:N", sort=list(panels), title=None), spacing=18)
    )
    return chart(title, caption, drawn, {"bars": _columns(rows)})


def _points(
    title: str,
    caption: str,
    panels: Sequence[str],
    rows: Sequence[tuple[Series, str, float | None]],
) -> Chart:
    import altair as alt

    looks = {one.policy.name: one.look for one, _, _ in rows}
    runs = list(dict.fromkeys(one.run.label for one, _, _ in rows))
    data: Mapping[str, Any] = {
        **_columns(rows),
        "series": [one.policy.name for one, _, _ in rows],
        "run": [one.run.label for one, _, _ in rows],
    }
    drawn = (
        alt.Chart(alt.NamedData(name="bars"))
        .mark_point(filled=True, size=45, opacity=0.9)
        .encode(
            x=alt.X(
                "run:O", sort=runs, title=None, axis=alt.Axis(labelAngle=-90, labelOverlap=True)
            ),
            y=alt.Y("share:Q", scale=alt.Scale(domain=[0, 1]), axis=_share_axis(), title=None),
            color=color(looks, points=True),
            shape=shape(looks),
            tooltip=["run:N", "series:N", "figure:N", "label:N"],
        )
        .properties(width=WIDTH // 2 - 70, height=150)
        .facet(facet=alt.Facet("figure:N", sort=list(panels), title=None), columns=2)
    )
    return chart(title, caption, drawn, {"bars": data})


def _share_axis() -> alt.Axis:
    import altair as alt

    return alt.Axis(format=".0%", values=[0, 0.5, 1])


def _columns(rows: Sequence[tuple[Series, str, float | None]]) -> dict[str, Any]:
    values = [share for _, _, share in rows]
    return {
        "series": [one.name for one, _, _ in rows],
        "figure": [panel for _, panel, _ in rows],
        "share": numbers([float("nan") if v is None else v for v in values]),
        "label": ["n/a" if v is None else percent(v) for v in values],
    }
