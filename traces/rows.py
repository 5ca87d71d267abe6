"""What a reader of a trace format gives: rows, one at a time, each with the line it came from.

Rows stream, so that a file may be larger than memory. They may be out of order by up to
`REORDER_LINES` lines, as logs of parallel servers are; `InOrder` sorts them within that window.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from orbitflow.errors import TraceError
from orbitflow.traces.trace import ArrivalUnit

REORDER_LINES = 10_000


class Row(NamedTuple):
    """One request as a file states it; `arrival` counts from an origin that the reader chose."""

    line: int
    arrival: float
    prompt_tokens: int
    output_tokens: int
    slo_tbt_s: float | None = None
    slo_ttft_s: float | None = None
    hash_ids: list[int] | None = None


@dataclass(slots=True)
class Source:
    """An open trace: its rows, to be read once, and what the file says of itself.

    A reader may add to `notices` until its last row is out.
    """

    rows: Iterator[Row]
    arrival_unit: ArrivalUnit = "s"
    max_batch: int | None = None
    kv_capacity_tokens: int | None = None
    notices: list[str] = field(default_factory=list)


class OpenTrace(Protocol):
    """Open a file; with `hash_ids`, rows carry those of the file (a simulation needs none)."""

    def __call__(self, path: Path, /, *, hash_ids: bool = False) -> Source: ...


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """A file format: how to know it by the file's first characters, and how to read it."""

    name: str
    title: str
    matches: Callable[[str], bool]
    open: OpenTrace


@dataclass(slots=True)
class InOrder:
    """Iterate over `rows` sorted by arrival; equal stamps keep their order.

    A row may be earlier than at most `window` of the rows above it; anything worse is refused
    with its line. `moved` counts the rows that were out of order.
    """

    rows: Iterator[Row]
    path: Path
    window: int = REORDER_LINES
    moved: int = 0

    def __iter__(self) -> Iterator[Row]:
        waiting: deque[Row] = deque()
        given = -math.inf  # arrival of the last row given away: nothing may come before it
        for row in self.rows:
            if not waiting or row.arrival >= waiting[-1].arrival:
                waiting.append(row)
            elif row.arrival < given:
                raise self._too_late(row)
            else:
                self.moved += 1
                waiting.insert(bisect_right(waiting, row.arrival, key=_arrival), row)
            if len(waiting) > self.window:
                given = waiting[0].arrival
                yield waiting.popleft()
        yield from waiting

    def notices(self) -> list[str]:
        if not self.moved:
            return []
        return [f"{self.path.name}: {self.moved:,} out-of-order lines sorted by arrival"]

    def _too_late(self, row: Row) -> TraceError:
        return bad_line(
            self.path,
            row.line,
            f"arrives before more than {self.window:,} of the lines above it",
            "lines sorted by arrival, or nearly so",
        )


def _arrival(row: Row) -> float:
    return row.arrival


def bad_line(path: Path, line: int, what: str, expected: str) -> TraceError:
    """Return the error for one line of a file: where, what is wrong, what would be right."""
    return TraceError(f"{path}:{line}: {what}; expected {expected}")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give the lines of a text file that are not blank, numbered from 1."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield number, line
    except UnicodeDecodeError as error:
        raise undecodable(path) from error


def undecodable(path: Path) -> TraceError:
    """Find the line whose bytes are not UTF-8, and return the error that names it."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                what = f"byte 0x{line[error.start]:02x} is not UTF-8"
                return bad_line(path, number, what, "a text file in UTF-8")
    return TraceError(f"{path}: not UTF-8; expected a text file in UTF-8")
