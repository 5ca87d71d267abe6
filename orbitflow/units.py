"""Units at the edge: people write 24GiB, 100ms and 7.6GB/s; inside there are bytes and seconds
only. A number without a unit is refused, with the two readings it most likely has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from orbitflow.errors import UserError

T = TypeVar("T")


class TimeUnit(StrEnum):
    """The unit of a time stamp in a file."""

    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


KIB, MIB, GIB = 1024, 1024**2, 1024**3
_BYTES = {
    "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1024**4,
}  # fmt: skip
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-zA-Z]*)\s*")


def _parse(
    text: str, units: dict[str, float] | dict[str, int], example: str, likely: tuple[str, str]
) -> float:
    """Read a number with one of `units`. A bare number is refused with its two `likely` units."""
    match = _QUANTITY.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or (unit and unit not in units):
        raise UserError(f"cannot read {text!r}: write a number and a unit, such as {example}")
    value = float(match[1]) * units.get(unit, 1)
    if math.isinf(value):
        raise UserError(f"{text!r} must be finite, such as {example}")
    if value <= 0:
        raise UserError(f"{text!r} must be more than zero, such as {example}")
    if not unit:
        one, other = (match[1] + name for name in likely)
        raise UserError(f"{text!r} has no unit: write {one} or {other}")
    return value


def parse_bytes(text: str) -> int:
    """Read an amount of memory.

    >>> parse_bytes("24GiB")
    25769803776

    Raise a UserError if it is not a positive number with a unit of bytes.
    """
    return _whole(text, "24GiB", ("GiB", "GB"))


def _whole(text: str, example: str, likely: tuple[str, str]) -> int:
    bare = _QUANTITY.fullmatch(text)
    if bare and not bare[2] and float(bare[1]) >= MIB:  # nobody has a million GiB
        likely = ("B", "KiB")
    count = round(_parse(text, _BYTES, example, likely))
    if not count:
        raise UserError(f"{text!r} is less than one byte: write an amount such as {example}")
    return count


def parse_rate(text: str) -> int:
    """Read a rate in bytes per second; 7.6GB and 7.6GB/s are the same.

    >>> parse_rate("0.4GB/s")
    400000000

    Raise a UserError if it is not a positive number with a unit of memory.
    """
    return _whole(text.strip().removesuffix("/s"), "7.6GB/s", ("GB/s", "MB/s"))


def parse_seconds(text: str) -> float:
    """Read a duration.

    >>> parse_seconds("100ms")
    0.1

    Raise a UserError if it is not a positive number with a unit of time.
    """
    return _parse(text, _SECONDS, "100ms or 2s", ("ms", "s"))


def parse_moment(text: str) -> float:
    """Read a time that may be zero, with or without a unit then, in seconds.

    >>> parse_moment("0"), parse_moment("2s")
    (0.0, 2.0)

    Raise a UserError as `parse_seconds` does.
    """
    match = _QUANTITY.fullmatch(text)
    if match and float(match[1]) == 0 and match[2].lower() in ("", *_SECONDS):
        return 0.0
    return parse_seconds(text)


def parse_share(text: str) -> float:
    """Read a share, as a number or in percent.

    >>> parse_share("2%"), parse_share("0.02")
    (0.02, 0.02)

    Raise a UserError if it is neither.
    """
    number = text.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        raise UserError(f"cannot read {text!r}: write a share such as 2% or 0.02") from None
    return value / 100 if number != text.strip() else value


def parse_option(option: str, text: str, parse: Callable[[str], T]) -> T:
    """Read an option's text. A refusal names the option."""
    try:
        return parse(text)
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
