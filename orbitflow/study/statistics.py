"""A mean and a 95 % interval for figures over seeds, and how tables write them.

half width = t(0.975, n - 1) s / sqrt(n), Student's t, s the standard deviation of the n seeds. With
one seed there is a mean only. Tables write mean ± half width, both in the unit of the mean.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from orbitflow.study.figures import Kind, kind_of
from orbitflow.units import unit_of_bytes, unit_of_seconds

_T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
_T_975_BEYOND = ((120, 1.9799), (60, 2.0003), (40, 2.0211), (30, 2.0423))


class Estimate(NamedTuple):
    """A figure over seeds. Without a half width, one seed has it."""

    mean: float
    half_width: float | None


def t_quantile(freedom: int) -> float:
    """The 0.975 quantile of Student's t, rounded towards the wider interval between entries.

    >>> t_quantile(2)
    4.3027
    """
    if freedom <= len(_T_975):
        return _T_975[freedom - 1]
    return next(t for least, t in _T_975_BEYOND if freedom >= least)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and half width of the 95 % interval of at least one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Estimate(mean, None)
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(mean, t_quantile(len(values) - 1) * spread)


def estimates(runs: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    """Of every number that some run has; what is undefined in a run is left out of its mean."""
    columns: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                columns.setdefault(name, []).append(value)
    return {name: estimate(values) for name, values in columns.items()}


def number(value: Estimate, form: str = ".3g") -> str:
    """A figure without a unit.

    >>> number(Estimate(1.2345, 0.056))
    '1.23 ± 0.06'
    """
    if value.half_width is None:
        return format(value.mean, form)
    half = format(value.half_width, form if form.endswith("f") else ".1g")
    if "e+" in half:
        half = format(float(half), "g")  # 70, not 7e+01
    return f"{value.mean:{form}} ± {half}"


def percent(value: Estimate) -> str:
    """A share in percent, without the sign.

    >>> percent(Estimate(0.93, 0.004))
    '93.0 ± 0.4'
    """
    return number(_divided(value, 0.01), ".1f")


def seconds(value: Estimate) -> str:
    """A duration.

    >>> seconds(Estimate(0.12, 0.0034))
    '120 ± 3 ms'
    """
    name, size = unit_of_seconds(value.mean)
    return f"{number(_divided(value, size))} {name}"


def amount(value: Estimate) -> str:
    """An amount of memory.

    >>> amount(Estimate(3 * 2**30, 2**29))
    '3 ± 0.5 GiB'
    """
    name, size = unit_of_bytes(value.mean)
    return f"{number(_divided(value, size))} {name}"


def share(value: Estimate) -> str:
    """A share in percent, with the sign."""
    return f"{percent(value)} %"


def writer(figure: str) -> Callable[[Estimate], str]:
    """How a figure of that name is written, with its unit."""
    return _WRITERS[kind_of(figure)]


def _divided(value: Estimate, unit: float) -> Estimate:
    half = None if value.half_width is None else value.half_width / unit
    return Estimate(value.mean / unit, half)


_WRITERS: Mapping[Kind, Callable[[Estimate], str]] = {
    Kind.SHARE: share,
    Kind.SECONDS: seconds,
    Kind.BYTES: amount,
    Kind.NUMBER: number,
}
