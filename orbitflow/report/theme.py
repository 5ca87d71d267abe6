"""Colours, dashes and shapes. A policy keeps its own in every chart of a page.

Colours are CSS variables that the page's style sheet defines for light, dark and paper, so that
charts change with the page and need not be drawn again. The eight hues are those of Okabe and Ito,
made for colour-blind readers; dashes and shapes tell policies apart in grey.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

_FIXED = {"no-offload": 0, "dynamic": 1, "orbitflow": 2, "orbit": 3}
_HUES = 8
_DASHES = ((1, 0), (2, 2), (9, 3), (9, 3, 2, 3), (4, 2), (12, 4), (6, 2, 2, 2, 2, 2), (1, 3))
_SHAPES = (
    *("circle", "square", "triangle-up", "diamond"),
    *("cross", "triangle-down", "triangle-right", "triangle-left"),
)
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
    """A look for every policy, in order of appearance; those of every day always have the same."""
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
