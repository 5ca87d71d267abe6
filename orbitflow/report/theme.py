"""Colours, dashes and shapes, and the scales made of them. A policy has its own in every chart.

A series is one policy of one run. Colours are CSS variables that the page's style sheet defines for
light, dark and paper, so charts change with the page and need not be drawn again. The eight hues
are those of Okabe and Ito, made for colour-blind readers; dashes and shapes tell policies apart in
grey.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orbitflow.report.chart import WIDTH

if TYPE_CHECKING:
    import altair as alt

    from orbitflow.report.read_runs import PolicyRun, ReportRun

_FIXED = {"no-offload": 0, "dynamic": 1, "orbitflow": 2, "orbit": 3}
_HUES = 8
_SYMBOL, _LETTER = 40, 7  # pixels in a legend
_DASHES = ((1, 0), (2, 2), (9, 3), (9, 3, 2, 3), (4, 2), (12, 4), (6, 2, 2, 2, 2, 2), (1, 3))
_SHAPES = (
    *("circle", "square", "triangle-up", "diamond"),
    *("cross", "triangle-down", "triangle-right", "triangle-left"),
)
_RUN_DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (12, 4), (1, 3))
FONT = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
_INK, _FAINT, _GRID = "var(--ink)", "var(--faint)", "var(--grid)"

CONFIG: Final[dict[str, Any]] = {
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": _FAINT,
        "titleColor": _INK,
        "tickColor": _GRID,
        "domainColor": _FAINT,
        "gridColor": _GRID,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelLimit": 220,
    },
    "legend": {
        "labelColor": _INK,
        "titleColor": _INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "symbolStrokeWidth": 2,
        "symbolSize": 220,
        "labelLimit": 320,
    },
    "header": {"labelColor": _INK, "titleColor": _INK, "labelFontSize": 12, "labelLimit": 400},
    "title": {"color": _INK, "fontSize": 12, "fontWeight": 600, "anchor": "start", "offset": 6},
    "text": {"color": _INK, "fontSize": 11},
    "rule": {"color": _FAINT},
}


class Look(NamedTuple):
    """How a policy is drawn."""

    color: str
    dash: tuple[int, ...]
    shape: str


def looks(policies: Iterable[str]) -> dict[str, Look]:
    """A look for every policy, in order of appearance; a few have the same on every page."""
    names = list(dict.fromkeys(policies))
    taken = {_FIXED[name] for name in names if name in _FIXED}
    free = iter([n for n in range(_HUES) if n not in taken] + list(range(_HUES, 10_000)))
    return {name: _look(_FIXED[name] if name in _FIXED else next(free)) for name in names}


def _look(number: int) -> Look:
    hue, round_ = number % _HUES, number // _HUES
    return Look(
        f"var(--hue-{hue})",
        _DASHES[(hue + round_) % len(_DASHES)],
        _SHAPES[(hue + round_) % len(_SHAPES)],
    )


class Series(NamedTuple):
    """One policy of one run. `look` has its policy's colour."""

    name: str
    run: ReportRun
    policy: PolicyRun
    look: Look


def series_of(runs: Sequence[ReportRun], looks: Mapping[str, Look]) -> list[Series]:
    """All policies of these runs. One that serves in several runs has their labels in its names,
    and a dash for each run.
    """
    times = Counter(policy.name for run in runs for policy in run.policies)
    seen: Counter[str] = Counter()
    found = []
    for run in runs:
        for policy in run.policies:
            look, name = looks[policy.name], policy.name
            if times[name] > 1:
                look = look._replace(dash=_RUN_DASHES[seen[name] % len(_RUN_DASHES)])
                seen[name] += 1
                name = f"{name}, {run.label}"
            if policy.figures.get("lossy"):
                name += " (lossy)"
            found.append(Series(name, run, policy, look))
    return found


def color(looks: Mapping[str, Look], *, legend: bool = True, points: bool = False) -> alt.Color:
    """Colours of series by name."""
    import altair as alt

    scale = alt.Scale(domain=list(looks), range=[look.color for look in looks.values()])
    return alt.Color(
        "series:N",
        scale=scale,
        title=None,
        legend=_legend(looks, points=points) if legend else None,
    )


def dash(looks: Mapping[str, Look]) -> alt.StrokeDash:
    """Dashes of series by name."""
    import altair as alt

    scale = alt.Scale(domain=list(looks), range=[list(look.dash) for look in looks.values()])
    return alt.StrokeDash("series:N", scale=scale, title=None, legend=_legend(looks))


def shape(looks: Mapping[str, Look]) -> alt.Shape:
    """Shapes of points by series."""
    import altair as alt

    scale = alt.Scale(domain=list(looks), range=[look.shape for look in looks.values()])
    return alt.Shape("series:N", scale=scale, title=None, legend=_legend(looks, points=True))


def _legend(names: Iterable[str], *, points: bool = False) -> alt.Legend:
    """A legend above the chart, in as many columns as there is room for."""
    import altair as alt

    columns = max(1, WIDTH // (_SYMBOL + _LETTER * max(map(len, names))))
    if points:
        return alt.Legend(orient="top", columns=columns, symbolSize=80)
    return alt.Legend(orient="top", columns=columns, symbolType="stroke")
