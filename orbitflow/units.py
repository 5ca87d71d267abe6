"""Units at the edge: people write 24GiB, 100ms and 7.6GB/s; inside there are bytes and seconds
only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeVar

from orbitflow.errors import UserError

T = TypeVar("T")

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_BYTES = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1024**4,
}  # fmt: skip
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-zA-Z]*)\s*")


def _parse(text: str, units: dict[str, float] | dict[str, int], example: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in units:
        raise UserError(f"cannot read {text!r}: write a number and a unit, such as {example}")
    value = float(match[1]) * units[match[2].lower()]
    if math.isinf(value):
        raise UserError(f"{text!r} must be finite, such as {example}")
    if value <= 0:
        raise UserError(f"{text!r} must be more than zero, such as {example}")
    return value


def parse_bytes(text: str) -> int:
    """Read an amount of memory.

    >>> parse_bytes("24GiB")
    25769803776

    Raise a UserError if it is not a positive number with a unit of bytes.
    """
    count = round(_parse(text, _BYTES, "24GiB or 24e9"))
    if not count:
        raise UserError(f"{text!r} is less than one byte: write an amount such as 24GiB")
    return count


def parse_rate(text: str) -> int:
    """Read a rate in bytes per second; 7.6GB and 7.6GB/s are the same.

    >>> parse_rate("0.4GB/s")
    400000000

    Raise a UserError if it is not a positive number with a unit of memory.
    """
    return parse_bytes(text.strip().removesuffix("/s"))


def parse_seconds(text: str) -> float:
    """Read a duration.

    >>> parse_seconds("100ms")
    0.1

    Raise a UserError if it is not a positive number with a unit of time.
    """
    return _parse(text, _SECONDS, "100ms or 2s")


def parse_option(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """Read an option's text if it was given. A refusal names the option."""
    try:
        return None if text is None else parse(text)
    except UserError as error:
        raise UserError(f"{option}: {error}") from None


def format_bytes(count: float) -> str:
    """Write an amount of memory for people, in binary units.

    >>> format_bytes(24 * GIB)
    '24.0 GiB'
    """
    name, size = unit_of_bytes(count)
    return f"{count / size:.{int(size > 1)}f} {name}"


def unit_of_bytes(count: float) -> tuple[str, int]:
    """The unit that such an amount of memory is written in, and its size in bytes.

    >>> unit_of_bytes(3 * GIB)
    ('GiB', 1073741824)
    """
    for unit, size in (("TiB", 1024**4), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(count) >= size - size / 1024 / 20:  # what the next unit would round to 1024.0
            return unit, size
    return "B", 1


def format_seconds(seconds: float) -> str:
    """Write a duration for people, with three significant digits.

    >>> format_seconds(0.0495), format_seconds(17510.0)
    ('49.5 ms', '4.86 h')
    """
    seconds = float(f"{seconds:.3g}")
    name, size = unit_of_seconds(seconds)
    return f"{seconds / size:.3g} {name}"


def unit_of_seconds(seconds: float) -> tuple[str, float]:
    """The unit that such a duration is written in, and its length in seconds.

    >>> unit_of_seconds(90.0), unit_of_seconds(150.0)
    (('s', 1.0), ('min', 60.0))
    """
    seconds = abs(float(f"{seconds:.3g}"))
    units = (("h", 3600.0, 3600.0), ("min", 60.0, 120.0), ("s", 1.0, 1.0), ("ms", 1e-3, 1e-3))
    if seconds == 0:
        return "s", 1.0
    return next(((name, size) for name, size, least in units if seconds >= least), ("µs", 1e-6))


def format_count(count: float) -> str:
    """Write a count with thousands separators.

    >>> format_count(4088665)
    '4,088,665'
    """
    return f"{count:,.0f}"
