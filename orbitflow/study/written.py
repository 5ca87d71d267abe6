"""How tables write what a study varied, and what it came to.

A figure is its mean ± half of its 95 % interval, both in the unit of the mean; of one seed there is
the mean only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orbitflow.study.figures import Kind, kind_of
from orbitflow.study.keys import Value
from orbitflow.study.statistics import Estimate
from orbitflow.units import (
    format_bytes,
    format_count,
    format_seconds,
    unit_of_bytes,
    unit_of_seconds,
)


def key_text(key: str, value: Value | None) -> str:
    """A value of a key for people; the end of the key says its unit.

    >>> key_text("slo_tbt_s", 0.1), key_text("kv_capacity_tokens", 12000), key_text("max_batch", 8)
    ('100 ms', '12,000', '8')
    """
    if value is None or isinstance(value, bool | str):
        return str(value)
    if key.endswith("_bytes"):
        return format_bytes(value)
    if key.endswith("_s"):
        return format_seconds(value)
    if key.endswith("_tokens"):
        return format_count(value)
    return str(value) if isinstance(value, int) else f"{value:g}"


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
