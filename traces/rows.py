"""What a reader of a trace format gives: rows, one at a time, each with the line it came from, or
whole columns where speed matters.

Rows stream, so that a file may be larger than memory. They may be out of order by up to
`REORDER_LINES` lines, as logs of parallel servers are; `InOrder` sorts them within that window.
What is kept of them are columns that grow, eight bytes per field and request.
"""

from __future__ import annotations

import codecs
import math
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.errors import TraceError, UserError
from orbitflow.traces.stamps import StampClock
from orbitflow.traces.trace import ArrivalUnit, on_grid
from orbitflow.units import TimeUnit

REORDER_LINES = 10_000
BLOCK_BYTES = 1 << 20


class TraceRow(NamedTuple):
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

    `notices` is asked when reading ends, which may be before the last row.
    """

    rows: Iterator[TraceRow]
    arrival_unit: ArrivalUnit = "s"
    max_batch: int | None = None
    kv_capacity_tokens: int | None = None
    notices: Callable[[], list[str]] = list
    clock: StampClock | None = None
    """What reads its stamps, where they are numbers or dates of any kind."""


class ColumnNames(NamedTuple):
    """What the columns of a CSV file are called; `id` only serves to name a wrong request."""

    time: str
    prompt: str
    output: str
    id: str | None = None


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file, where there is a choice. The last three are for files of text, which
    have neither lengths nor arrivals; without slots, so that the class carries the defaults.
    """

    time_unit: TimeUnit | None = None
    """The unit of numeric time stamps; None: the one that the format states."""
    columns: ColumnNames | None = None
    """The file is CSV with these columns, whatever it looks like."""

    hash_ids: bool = False
    """Rows carry those of the file; a simulation needs none."""
    rate: float = 1.0
    """Requests per second of the Poisson process that arrivals are drawn from."""
    tokens_per_word: float = 1.3
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise a UserError for a value out of range."""
        if not (math.isfinite(self.rate) and 1e-6 <= self.rate <= 1e6):
            raise UserError(f"rate {self.rate}: must be 1e-06 to 1e+06 requests per second")
        if not (math.isfinite(self.tokens_per_word) and 0 < self.tokens_per_word <= 1000):
            raise UserError(f"{self.tokens_per_word} tokens per word: must be above 0, up to 1000")
        if self.seed < 0:
            raise UserError(f"seed {self.seed}: must be at least 0")


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """A file format: how to know it by the file's first characters, and how to read it."""

    name: str
    title: str
    matches: Callable[[str], bool]
    open: Callable[[Path, ReadOptions], Source]
    time_unit: TimeUnit | None = None
    """What its stamps are in, where a person may say another unit; None: they are no numbers."""
    is_text: bool = False
    """Has neither lengths nor arrivals, so that ReadOptions are needed to make them up."""
    quick: Callable[[Path, int | None], tuple[Columns, tuple[str, ...]] | None] | None = None
    """Where speed matters: what rows in order would give (all of them or the first few) and the
    notices, or None if the file is not quite right and only its rows can tell why."""


@dataclass(slots=True)
class InOrder:
    """Iterate over `rows` sorted by arrival; equal stamps keep their order.

    A row may be earlier than at most `window` of the rows above it; anything worse is refused
    with its line. `moved` counts the rows that were out of order.
    """

    rows: Iterator[TraceRow]
    path: Path
    window: int = REORDER_LINES
    moved: int = 0

    def __iter__(self) -> Iterator[TraceRow]:
        waiting: deque[TraceRow] = deque()
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

    def _too_late(self, row: TraceRow) -> TraceError:
        return bad_line(
            self.path,
            row.line,
            f"arrives before more than {self.window:,} of the lines above it",
            "lines sorted by arrival, or nearly so",
        )


def _arrival(row: TraceRow) -> float:
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
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK_BYTES)
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                what = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
                return bad_line(path, line, what, "a text file in UTF-8")
            if not block:
                break
    return TraceError(f"{path}: not UTF-8; expected a text file in UTF-8")


@dataclass(slots=True)
class Columns:
    """Requests in order; the columns of limits stay short where the last requests have none."""

    arrival: array[float] = field(default_factory=lambda: array("d"))
    prompt_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    slo_tbt_s: array[float] = field(default_factory=lambda: array("d"))
    slo_ttft_s: array[float] = field(default_factory=lambda: array("d"))

    def extend(self, rows: Iterable[TraceRow]) -> None:
        add_arrival, add_prompt = self.arrival.append, self.prompt_tokens.append
        add_output = self.output_tokens.append
        for count, (_, at, prompt, output, tbt_s, ttft_s, _) in enumerate(rows):
            add_arrival(at)
            add_prompt(prompt)
            add_output(output)
            if tbt_s is not None:
                _put(self.slo_tbt_s, count, tbt_s)
            if ttft_s is not None:
                _put(self.slo_ttft_s, count, ttft_s)

    def add(self, arrival: FloatArray, prompt_tokens: IntArray, output_tokens: IntArray) -> None:
        """Append many requests, none with limits."""
        self.arrival.frombytes(arrival.tobytes())
        self.prompt_tokens.frombytes(prompt_tokens.tobytes())
        self.output_tokens.frombytes(output_tokens.tobytes())

    def first(self, count: int | None) -> Columns:
        """Drop all but the first requests, and return what is left."""
        if count is not None:
            for column in (self.arrival, self.prompt_tokens, self.output_tokens):
                del column[count:]
        return self

    def since_the_first(self) -> FloatArray:
        """Turn the arrivals, in place, into times since the first of them."""
        stamps = np.frombuffer(self.arrival, dtype=np.float64)
        stamps -= stamps[0]
        return on_grid(stamps, out=stamps)


def _put(column: array[float], place: int, value: float) -> None:
    column.extend(repeat(math.nan, place - len(column)))
    column.append(value)


def padded(column: array[float], length: int) -> FloatArray | None:
    """Return a column of limits at full length; None if no request has one."""
    if not column:
        return None
    values = np.full(length, math.nan)
    values[: len(column)] = column
    return values
