"""Checks of single values in a trace file, shared by the readers.

They raise FieldError, which knows what is wrong but not where; the reader adds file and line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from orbitflow.traces.trace import MAX_TOKENS

MAX_STAMP = 1e14
"""In milliseconds the year 5138; a larger stamp is in another unit."""

A_LENGTH = f"a whole number from 1 to {MAX_TOKENS:,}"
A_STAMP = f"a number from 0 to {MAX_STAMP:.0e}"
A_LIMIT = "a finite number of milliseconds, more than 0"
NUMBER = re.compile(r"\d{1,20}(?:\.\d*)?(?:[eE][+-]?\d{1,3})?", re.ASCII)


class FieldError(ValueError):
    """A value in a trace file is wrong."""

    def __init__(self, what: str, expected: str) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected


def quoted(value: object) -> str:
    """Show a value from a file, cut so that an error stays one short line."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def length(record: Mapping[str, Any], name: str) -> int:
    """Return a number of tokens."""
    value = record.get(name)
    if type(value) is int and 0 < value <= MAX_TOKENS:
        return value
    raise wrong(record, name, A_LENGTH)


def length_of_text(name: str, text: str) -> int:
    """Return a number of tokens from a field of a CSV file."""
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return length({name: int(text)}, name)
    raise FieldError(f"{name} is {quoted(text)}", A_LENGTH)


def seconds_of_text(name: str, text: str) -> float:
    """Return a point in time from a field of a text file that counts seconds."""
    if NUMBER.fullmatch(text) is not None and (value := float(text)) <= MAX_STAMP / 1000:
        return value
    raise FieldError(f"{name} is {quoted(text)}", f"a number from 0 to {MAX_STAMP / 1000:.0e}")


def stamp(record: Mapping[str, Any], name: str) -> float:
    """Return a point in time, in the unit of the file."""
    value = record.get(name)
    if (type(value) is int or type(value) is float) and 0 <= value <= MAX_STAMP:
        return float(value)
    raise wrong(record, name, A_STAMP)


def limit_s(record: Mapping[str, Any], name: str) -> float | None:
    """Return an SLO in seconds; the file has milliseconds, or null or no such field for none."""
    value = record.get(name)
    if value is None:
        return None
    if (type(value) is int or type(value) is float) and 0 < value <= MAX_STAMP:
        limit = float(value) / 1000
        if limit > 0 and math.isfinite(limit):
            return limit
    raise wrong(record, name, A_LIMIT)


def wrong(record: Mapping[str, Any], name: str, expected: str) -> FieldError:
    """Return the error for a field that is missing or has the wrong value."""
    if name not in record:
        return FieldError(f"no field {name}", expected)
    return FieldError(f"{name} is {quoted(record[name])}", expected)
