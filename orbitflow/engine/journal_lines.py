"""A `journal.jsonl` read back, line by line: the first says the version, each other one call.

What `journal.JournalFile` wrote is accepted, and nothing else: every number has a range.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from orbitflow import __version__
from orbitflow.engine.journal import (
    SCHEMA_VERSION,
    AdoptCall,
    Entry,
    FinishCall,
    StepCall,
    SubmitCall,
)
from orbitflow.errors import UserError
from orbitflow.formats.reading import read_lines
from orbitflow.formats.records import Natural, Positive, PositiveReal, Real, Whole
from orbitflow.request import Request
from orbitflow.step import StepOutcome


def read_journal(path: Path) -> Iterator[Entry]:
    """The entries of a file, read as they are asked for; a torn last line ends them.

    Raise a UserError if it cannot be read, or is no journal of this version.
    """
    lines = read_lines(path, _line, "run it again", what="is no line of a journal")
    first = next(lines, None)
    if first is None:
        raise UserError(f"{path} is no journal: it has not one whole line: run it again")
    _check_version(path, first)
    for number, entry in enumerate(lines, 2):
        if isinstance(entry, _Head):
            raise UserError(f"{path}:{number} begins a journal in a journal: run it again")
        yield entry.call()


def _check_version(path: Path, first: _Line) -> None:
    version = first.schema_version if isinstance(first, _Head) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema_version {version}, this orbitflow ({__version__}) reads "
            f"{SCHEMA_VERSION}: run again, or read it with the version that wrote it"
        )


def _line(line: bytes) -> _Line:
    """Raise a ValueError for what is no line of a journal."""
    start = line.find(b'"') + 1  # the first key says which call it is
    key = line[start : line.find(b'"', start)]
    decoder = _LINES.get(key)
    if decoder is None:
        raise ValueError(f"its first key is {ascii(key[:40])[1:]}, which is no call")
    return decoder.decode(line)


class _Head(msgspec.Struct):
    """The first line."""

    schema_version: Whole


class _SubmitLine(msgspec.Struct):
    submit: tuple[Natural, Real, Positive, Positive, PositiveReal | None, PositiveReal | None]
    now_s: Real
    refusal: str | None

    def call(self) -> SubmitCall:
        return SubmitCall(self.now_s, Request(*self.submit), self.refusal)


class _StepLine(msgspec.Struct):
    step: str
    now_s: Real

    def call(self) -> StepCall:
        return StepCall(self.now_s, self.step)


class _AdoptLine(msgspec.Struct):
    adopt: Whole
    now_s: Real

    def call(self) -> AdoptCall:
        return AdoptCall(self.now_s, self.adopt)


class _Outcome(msgspec.Struct):
    """A `StepOutcome`, its arrays as lists."""

    start_s: Real
    pass_end_s: list[Real]
    stall_s: Real
    link_busy_s: Real
    h2d_bytes: Natural
    d2h_bytes: Natural
    moves_done: tuple[Natural, ...]
    end_s: Real
    pass_stall_s: list[Real] | None


class _FinishLine(msgspec.Struct):
    finish: _Outcome
    events: str

    def call(self) -> FinishCall:
        outcome = StepOutcome(**msgspec.structs.asdict(self.finish))
        ends, stalls = outcome.pass_end_s, outcome.pass_stall_s
        outcome = outcome._replace(
            pass_end_s=np.array(ends), pass_stall_s=None if stalls is None else np.array(stalls)
        )
        return FinishCall(outcome, self.events)


_Call = _SubmitLine | _StepLine | _AdoptLine | _FinishLine
_Line = _Head | _Call
_LINES: dict[bytes, msgspec.json.Decoder[_Line]] = {
    b"schema_version": msgspec.json.Decoder(_Head),
    b"submit": msgspec.json.Decoder(_SubmitLine),
    b"step": msgspec.json.Decoder(_StepLine),
    b"adopt": msgspec.json.Decoder(_AdoptLine),
    b"finish": msgspec.json.Decoder(_FinishLine),
}
