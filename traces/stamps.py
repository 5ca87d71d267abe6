"""Time stamps: which unit a number is in, and what is a date.

A format states the unit of its numbers, or a person does; the size of the first stamp may show that
it is an epoch in another. For a stamp t, the first one t0 and n units in a second the arrival is

    (t - t0) / n,   t an epoch in the unit n if 1e9 <= t0 / n < 4.2e9 (years 2001 to 2103)

The ranges of s, ms, us and ns do not overlap. Dates in ISO 8601 are epochs in nanoseconds. Whatever
was guessed is said in a notice, and so is a rate that another unit would explain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orbitflow.traces.fields import NUMBER, FieldError, quoted, wrong
from orbitflow.units import TimeUnit, format_seconds

LONGEST_S = 1e11
"""No stamp is later: the year 5138 of an epoch; a larger number is in another unit."""

IN_A_SECOND = {TimeUnit.S: 1, TimeUnit.MS: 10**3, TimeUnit.US: 10**6, TimeUnit.NS: 10**9}
_EPOCHS_S = (1e9, 4.2e9)
_LONGEST_TRACE_S = 1e9
_HIGHEST_RATE = 100.0
_LONGEST_GAP_S = 1000.0
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]([012]\d:[0-5]\d)(?::([0-5]\d)(?:[.,](\d+))?)?"
    r" ?(Z|z|UTC|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)


def epoch_unit(stamp: float) -> TimeUnit | None:
    """The unit in which a number is a date of our time, or None if it is one in no unit."""
    least, beyond = _EPOCHS_S
    found = (unit for unit, count in IN_A_SECOND.items() if least <= stamp / count < beyond)
    return next(found, None)


@dataclass(frozen=True, slots=True)
class ReadDate:
    """A date: nanoseconds since 1970 in UTC, and whether it said its zone."""

    at_ns: int
    has_zone: bool


def read_date(text: str) -> ReadDate | None:
    """Read a date with a time, with or without a zone (UTC then); None if it is written otherwise.

    Digits beyond nanoseconds are cut off. Raise a FieldError for a date that no calendar has.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    day, minute, second, digits, zone = match.groups()
    offset = "+00:00" if zone in (None, "Z", "z", "UTC") else zone
    try:
        at = datetime.fromisoformat(f"{day} {minute}:{second or '00'}{offset}").astimezone(UTC)
        since = at - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        expected = "a date such as 2023-11-16 18:15:46.68"
        raise FieldError(f"{quoted(text)} is in no calendar", expected) from None
    whole_ns = (since.days * 86_400 + since.seconds) * 10**9
    return ReadDate(whole_ns + int(f"{digits or '':0<9.9}"), zone is not None)


@dataclass(slots=True)
class StampClock:
    """Turns the stamps of one file, as they are read, into seconds since its first.

    `known` is the unit that the file's format states, None if it states none; `asked` is a
    person's. `unit` is what the first stamp made of both, None for dates.
    """

    known: TimeUnit | None
    asked: TimeUnit | None = None
    unit: TimeUnit | None = None
    notices: list[str] = field(default_factory=list)
    is_sure: bool = False
    """The format's unit is beyond doubt, or a person said it, or the first stamp is an epoch."""
    _origin: float = 0
    _in_a_second: int = 1
    _least: float = 0.0
    _largest: float = -1.0
    _dates_have_zone: bool | None = None

    def seconds(self, record: Mapping[str, Any], name: str) -> float:
        """The time since the first stamp. Raise a FieldError if the field `name` has none."""
        stamp = record.get(name)
        if (type(stamp) is int or type(stamp) is float) and self._least <= stamp <= self._largest:
            return (stamp - self._origin) / self._in_a_second
        if type(stamp) is str:
            return self._since_date(name, stamp)
        if self._largest < 0 and self._dates_have_zone is None:
            self._begin(record, name)
            return 0.0
        raise self._out_of_range(record, name)

    def seconds_of_text(self, name: str, text: str) -> float:
        """The same for a field of a CSV file, which has numbers as text."""
        if NUMBER.fullmatch(text) is not None:
            number = int(text) if text.isdigit() else float(text)
            if self._least <= number <= self._largest:
                return (number - self._origin) / self._in_a_second
            try:
                return self.seconds({name: number}, name)
            except FieldError as error:
                what = error.what.replace(quoted(number), quoted(text))
                raise FieldError(what, error.expected) from None
        return self._since_date(name, text)

    def doubts(self, requests: int, span_s: float) -> list[str]:
        """What speaks against the unit, if it was taken for granted: a rate hard to believe."""
        if requests < 2 or span_s <= 0 or self.is_sure or self.unit is None:
            return []
        rate = (requests - 1) / span_s
        if rate > _HIGHEST_RATE:
            what = f"{rate:,.0f} requests/s"
        elif rate < 1 / _LONGEST_GAP_S:
            what = f"a request every {format_seconds(1 / rate)}"
        else:
            return []
        return [f"time stamps taken as {self.unit}: {what}; if that is wrong, say --time-unit"]

    def _begin(self, record: Mapping[str, Any], name: str) -> None:
        """Settle the unit by the first stamp."""
        stamp = record.get(name)
        if not ((type(stamp) is int or type(stamp) is float) and 0 <= stamp < 1e20):
            raise wrong(record, name, self._expected())
        epoch = epoch_unit(stamp)
        unit = self.asked or epoch or self.known or TimeUnit.S
        in_a_second = IN_A_SECOND[unit]
        if stamp > LONGEST_S * in_a_second:
            said = f"{name} is {quoted(stamp)}"
            if epoch is not None:
                raise FieldError(f"{said}, an epoch in {epoch}", f"--time-unit {epoch}, not {unit}")
            raise FieldError(said, f"a number from 0 to {LONGEST_S * in_a_second:.0e}")
        self.is_sure |= self.asked is not None or epoch is not None
        self._say(unit, epoch)
        self.unit, self._in_a_second, self._origin = unit, in_a_second, stamp
        reach = _LONGEST_TRACE_S * in_a_second
        self._least, self._largest = max(0, stamp - reach), stamp + reach

    def _out_of_range(self, record: Mapping[str, Any], name: str) -> FieldError:
        stamp = record.get(name)
        is_number = isinstance(stamp, int | float) and not isinstance(stamp, bool)
        largest = LONGEST_S * self._in_a_second
        if self.unit is None or stamp is None or not is_number or not 0 <= stamp <= largest:
            return wrong(record, name, self._expected())
        what = f"{name} is {quoted(stamp)}, over 31 years from the first one, {self._origin:g}"
        return FieldError(what, "stamps that are all absolute or all relative")

    def _say(self, unit: TimeUnit, epoch: TimeUnit | None) -> None:
        told = f"time stamps taken as {unit}"
        if self.asked is not None:
            if epoch not in (None, unit):
                self.notices.append(f"{told}, as asked; they look like an epoch in {epoch}")
            elif self.known not in (None, unit):
                self.notices.append(f"{told}, as asked; the format has {self.known}")
        elif epoch is not None and unit != self.known:
            unless = "" if self.known is None else f", not the format's {self.known}"
            self.notices.append(f"{told} since 1970{unless}: guessed by their size")
        elif self.known is None:
            self.notices.append(f"{told}: guessed; --time-unit says otherwise")

    def _since_date(self, name: str, text: str) -> float:
        moment = read_date(text)
        if moment is None or self._largest >= 0:
            raise FieldError(f"{name} is {quoted(text)}", self._expected())
        if self.asked is not None:
            what = f"{name} is {quoted(text)}, a date"
            raise FieldError(what, f"numbers with --time-unit {self.asked}: leave it out")
        if self._dates_have_zone is None:
            self._dates_have_zone = moment.has_zone
            self._origin = moment.at_ns
        if moment.has_zone != self._dates_have_zone:
            has = "a zone, the first one none" if moment.has_zone else "no zone, the first one has"
            raise FieldError(f"{name} is {quoted(text)} with {has}", "one way for all")
        return (moment.at_ns - self._origin) / 10**9

    def _expected(self) -> str:
        if self._dates_have_zone is not None:
            return "a date such as 2023-11-16T18:15:46.68Z"
        largest = LONGEST_S * IN_A_SECOND[self.unit or self.asked or self.known or TimeUnit.S]
        return f"a number from 0 to {largest:.0e}"
