"""A chart before it is drawn: a Vega-Lite specification made with Altair, and its data in columns.

Specifications name their data; the page turns columns into rows. Numbers are cut to five digits,
more than a chart can show.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from orbitflow.errors import UserError, how_to_install

Column: TypeAlias = Sequence[float | int | str | None]
Columns: TypeAlias = Mapping[str, Column]
Drawing: TypeAlias = Any  # a chart of Altair's, of whatever kind

WIDTH = 1080  # pixels that a chart may take, axes and legends included
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure of a page. `caption` is plain text; `extra` goes to the page's script as it is."""

    title: str
    caption: str
    spec: Mapping[str, Any]
    data: Mapping[str, Columns]
    extra: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        """What the page's script draws."""
        content: dict[str, Any] = {"spec": self.spec, "data": self.data}
        if self.extra is not None:
            content["extra"] = self.extra
        return json.dumps(content, separators=(",", ":"), allow_nan=False)


def check_libraries() -> None:
    """Raise a UserError if altair or vl-convert is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("altair", "vl_convert")):
        raise UserError(f"report needs altair and vl-convert: {how_to_install('report')}")


def fill(form: Any, values: Mapping[str, Any]) -> Any:
    """A specification with values where its form has names like ``@top``.

    Altair takes a tenth of a second for a chart of many panels, so a form is made once and filled
    in for each policy.
    """
    if isinstance(form, str):
        return values[form] if form.startswith("@") else form
    if isinstance(form, list):
        return [fill(part, values) for part in form]
    if isinstance(form, dict):
        return {key: fill(part, values) for key, part in form.items()}
    return form


def to_spec(drawn: Drawing) -> dict[str, Any]:
    """The specification of an Altair chart, without what the page has once for all charts."""
    spec: dict[str, Any] = drawn.to_dict(validate=False)
    for key in ("$schema", "config"):
        spec.pop(key, None)
    return spec


def chart(
    title: str,
    caption: str,
    drawn: Drawing,
    data: Mapping[str, Columns],
    extra: Mapping[str, Any] | None = None,
) -> Chart:
    """A chart made of an Altair chart and its data."""
    spec = {"description": title, **to_spec(drawn)}
    return Chart(title, caption, spec, data, extra)


def numbers(values: Iterable[float]) -> list[float | None]:
    """Numbers for a page: five digits, None where there is none."""
    return [_short(float(value)) for value in values]


def _short(value: float) -> float | None:
    if not np.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short


SECONDS_LABEL = (
    "datum.value >= 3600 ? format(datum.value / 3600, '~g') + ' h'"
    " : datum.value >= 60 ? format(datum.value / 60, '~g') + ' min'"
    " : datum.value >= 1 ? format(datum.value, '~g') + ' s'"
    " : datum.value >= 0.001 ? format(datum.value * 1000, '~g') + ' ms'"
    " : format(datum.value * 1000000, '~g') + ' µs'"
)
_MINUTES = (60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0)
_HOURS = tuple(3600.0 * h for h in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
_FINE = (*(n * 10.0**e for e in range(-6, 1) for n in (1, 2, 5)), 10.0, 20.0, *_MINUTES, *_HOURS)
_MIDDLE = (
    *(n * 10.0**e for e in range(-6, 1) for n in (1, 3)),
    *(10.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 3 * 3600.0, 36e3, 36e4, 36e5),
)
_COARSE = (*(10.0**e for e in range(-6, 2)), 60.0, 600.0, 3600.0, 36e3, 36e4, 36e5)
_FEW = 10


def ticks_s(low: float, high: float) -> list[float]:
    """Round ticks of a logarithmic axis of seconds, as many as there is room for."""
    ticks: list[float] = []
    for choice in (_FINE, _MIDDLE, _COARSE):
        ticks = [float(f"{tick:.6g}") for tick in choice if low <= tick <= high]
        if len(ticks) <= _FEW:
            break
    return ticks[:: len(ticks) // (_FEW + 1) + 1]


def ticks_of_ratios(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis of numbers: 1, 2, 5 of each decade, or 1 where there are many.

    >>> ticks_of_ratios(0.03, 1.5)
    [0.05, 0.1, 0.2, 0.5, 1.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if len(decades) <= _FEW // 2 else (1,)
    ticks = (float(f"{digit}e{decade}") for decade in decades for digit in digits)
    return [tick for tick in ticks if low <= tick <= high]


class AxisUnit:
    """The unit of an axis that spans so many seconds."""

    def __init__(self, span_s: float) -> None:
        units = (("h", 3600.0, 3 * 3600.0), ("min", 60.0, 180.0), ("s", 1.0, 0.0))
        self.name, self.seconds = next((n, s) for n, s, least in units if span_s >= least)
