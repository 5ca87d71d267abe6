"""A fast way to read Azure's files: a megabyte of lines at a time, taken apart by numpy.

It gives what the line-by-line reader in `azure.py` gives, to the bit, or nothing: at the first
thing that is not as it should be (a wrong or blank line, disorder) the caller turns to
that reader, which knows what to say. Seconds are whole numbers over a
power of ten, whose quotient is the same double as the decimal number read as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.traces.rows import BLOCK_BYTES, REORDER_LINES, Columns

Bytes = npt.NDArray[np.uint8]

_DIGITS = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)  # of 2024-05-10 00:00:00
_MARKS = ((4, b"-"), (7, b"-"), (10, b" "), (13, b":"), (16, b":"))
_LARGEST = {11: 2, 14: 5, 17: 5}  # the tens of hours, minutes and seconds
_STAMP_BYTES = 19
_MOST_DECIMALS = 9
_MOST_DIGITS = 9


class _OddError(Exception):
    """Something is not as it should be; the slow reader shall say what."""


def read_columns(
    path: Path, limit: int | None, header: bytes, suffix: bytes, *, zeros: bool
) -> tuple[Columns, int] | None:
    """Return the columns and how many lines with a length of 0 were left out, or None.

    Below `header` stamps end with `suffix`; without `zeros` a length of 0 is a mistake. As much is
    read as is needed to know the first `limit` requests.
    """
    wanted = None if limit is None else limit + REORDER_LINES
    columns = Columns()
    left_out = 0
    clock = _Clock()
    try:
        for data in _blocks(path, header):
            missing = None if wanted is None else wanted - len(columns.arrival)
            lines = _Lines(data, suffix, zeros)
            kept = lines.kept[:missing]
            if len(kept):
                seconds = clock.seconds(lines, kept)
                _require(seconds[1:] >= seconds[:-1])
                _require(not columns.arrival or seconds[0] >= columns.arrival[-1])
                columns.add(seconds, lines.prompt[kept], lines.output[kept])
            if missing is not None and len(kept) == missing:
                return columns.first(limit), left_out + int(kept[-1]) + 1 - len(kept)
            left_out += len(lines.prompt) - len(kept)
    except _OddError:
        return None
    return columns.first(limit), left_out


def _blocks(path: Path, header: bytes) -> Iterator[bytes]:
    """Give the file in blocks of whole lines, without its header."""
    with path.open("rb", buffering=0) as file:
        rest = b""
        is_first = True
        while more := file.read(BLOCK_BYTES):
            data, newline, rest = (rest + more).rpartition(b"\n")
            data = data.replace(b"\r\n", b"\n").removesuffix(b"\r")
            _require(bool(newline))
            if is_first:
                found, _, data = data.partition(b"\n")
                is_first = False
                _require(found == header)
            if data:
                yield data + newline
        if rest:
            yield rest.removesuffix(b"\r") + b"\n"


class _Lines:
    """A block of lines as columns; `kept` are the places of those that are requests."""

    def __init__(self, data: bytes, suffix: bytes, zeros: bool) -> None:
        self.text: Bytes = np.frombuffer(data, np.uint8)
        self.digit: Bytes = self.text - np.uint8(ord("0"))  # anything else wraps to above 9
        ends = np.flatnonzero(self.text == ord("\n"))
        commas = np.flatnonzero(self.text == ord(","))
        self.start = np.concatenate(([0], ends[:-1] + 1))
        if len(commas) != 2 * len(ends):
            raise _OddError
        first, second = commas[0::2], commas[1::2]
        self.decimals = first - self.start - _STAMP_BYTES - len(suffix) - 1
        _require((self.decimals == -1) | (self.decimals >= 1) & (self.decimals <= _MOST_DECIMALS))
        _require(second < ends)
        self._check_marks(first, suffix)
        self.second = self._seconds()
        self.prompt = self._length(first + 1, second, zeros)
        self.output = self._length(second + 1, ends, zeros)
        self.kept = np.flatnonzero((self.prompt > 0) & (self.output > 0))

    def _check_marks(self, first: IntArray, suffix: bytes) -> None:
        for place, mark in _MARKS:
            _require(self.text[self.start + place] == ord(mark))
        for place, byte in enumerate(suffix):
            _require(self.text[first - len(suffix) + place] == byte)
        for place in _DIGITS:
            _require(self.digit[self.start + place] <= _LARGEST.get(place, 9))
        _require(self.text[self.start[self.decimals > 0] + _STAMP_BYTES] == ord("."))

    def _seconds(self) -> FloatArray:
        """Read the seconds since the minute, of the lines without length too, as the plain one."""
        decimals = np.maximum(self.decimals, 0)
        power = 10**decimals
        fraction = self.number(self.start + _STAMP_BYTES + 1, decimals)
        second: FloatArray = (self.fixed(self.start + 17, 2) * power + fraction) / power
        return second

    def _length(self, begin: IntArray, end: IntArray, zeros: bool) -> IntArray:
        digits = end - begin
        _require((digits >= 1) & (digits <= _MOST_DIGITS))
        is_zero = self.digit[begin] == 0
        if is_zero.any():
            _require(zeros & (digits[is_zero] == 1))
        return self.number(begin, digits)

    def number(self, begin: IntArray, digits: IntArray) -> IntArray:
        """Read whole numbers of differing lengths; one without digits is 0."""
        value = np.zeros(len(begin), np.int64)
        for place in range(int(digits.max(initial=0))):
            more = digits > place
            if more.all():
                digit = self.digit[begin + place]
                value = value * 10 + digit
            else:
                digit = self.digit[begin[more] + place]
                value[more] = value[more] * 10 + digit
            _require(digit <= 9)
        return value

    def fixed(self, begin: IntArray, digits: int) -> IntArray:
        return self.number(begin, np.full(len(begin), digits))


@dataclass(slots=True)
class _Clock:
    """Turns stamps into seconds since the first one's minute; reads a date when it changes."""

    origin: datetime | None = None

    def seconds(self, lines: _Lines, kept: IntArray) -> FloatArray:
        return self._minutes(lines, lines.start[kept]) + lines.second[kept]

    def _minutes(self, lines: _Lines, start: IntArray) -> FloatArray:
        date = (lines.fixed(start, 4) * 100 + lines.fixed(start + 5, 2)) * 100
        key = (date + lines.fixed(start + 8, 2)) * 10_000
        key += lines.fixed(start + 11, 2) * 100 + lines.fixed(start + 14, 2)
        begins = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        minutes = [self._since_origin(minute) for minute in key[begins].tolist()]
        lasts = np.diff(np.concatenate((begins, [len(key)])))
        minute_s: FloatArray = np.repeat(np.array(minutes), lasts)
        return minute_s

    def _since_origin(self, key: int) -> float:
        try:
            rest, minute = divmod(key, 100)
            rest, hour = divmod(rest, 100)
            rest, day = divmod(rest, 100)
            moment = datetime(*divmod(rest, 100), day, hour, minute)
        except ValueError:
            raise _OddError from None
        self.origin = self.origin or moment
        return (moment - self.origin).total_seconds()


def _require(holds: npt.NDArray[np.bool_] | bool) -> None:
    if not np.all(holds):
        raise _OddError
