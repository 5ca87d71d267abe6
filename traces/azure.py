"""Azure's LLM inference traces of 2023: CSV with a time stamp of seven decimals and two lengths.

Patel et al., Splitwise (ISCA 2024). One regular expression takes a line apart, and the date is
only read when the minute changes; a line that does not fit is looked at again to say why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orbitflow.errors import TraceError
from orbitflow.traces.azure_blocks import read_columns
from orbitflow.traces.fields import FieldError, length_of_text, quoted
from orbitflow.traces.rows import (
    Columns,
    ReadOptions,
    Source,
    TraceFormat,
    TraceRow,
    bad_line,
    numbered_lines,
)

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
STAMP = r"(\d{4}-\d\d-\d\d [012]\d:[0-5]\d):([0-5]\d(?:\.\d{1,9})?)"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one year's files write a line."""

    stamp: re.Pattern[str]
    line: re.Pattern[str]
    example: str


def dialect(suffix: str, example: str) -> Dialect:
    """Return the dialect whose stamps end with `suffix`, a regular expression."""
    stamp = STAMP + suffix
    line = stamp + r",([1-9]\d{0,8}),([1-9]\d{0,8})\s*"
    return Dialect(re.compile(stamp, re.ASCII), re.compile(line, re.ASCII), example)


_NAIVE = dialect("", "2023-11-16 18:15:46.6805900")


def is_azure(head: str) -> bool:
    """Say whether a file that begins with `head` has the header of Azure's traces."""
    return head.partition("\n")[0].strip() == HEADER


def _open(path: Path, options: ReadOptions) -> Source:
    return Source(rows_of(path, _NAIVE))


def _quick(path: Path, limit: int | None) -> tuple[Columns, tuple[str, ...]] | None:
    read = read_columns(path, limit, HEADER.encode(), b"", zeros=False)
    return None if read is None else (read[0], ())


def rows_of(path: Path, dialect: Dialect, empty: list[int] | None = None) -> Iterator[TraceRow]:
    """Give the rows of a file; times count from its first.

    A line without prompt or answer is left out and its number added to `empty`, if given;
    otherwise it is refused.
    """
    lines = numbered_lines(path)
    line, header = next(lines)  # a file without lines is refused before
    if header.strip() != HEADER:
        raise bad_line(path, line, f"the header is {quoted(header.strip())}", HEADER)
    minute, minute_s = "", 0.0
    origin: datetime | None = None
    take_apart = dialect.line.fullmatch
    for line, text in lines:
        match = take_apart(text)
        if match is None:
            if empty is not None and _is_empty(text, dialect):
                empty.append(line)
                continue
            raise _explain(path, line, text, dialect)
        stamp, second, prompt_tokens, output_tokens = match.groups()
        if stamp != minute:
            minute, moment = stamp, _moment(path, line, stamp)
            origin = origin or moment
            minute_s = (moment - origin).total_seconds()
        yield TraceRow(line, minute_s + float(second), int(prompt_tokens), int(output_tokens))


def _moment(path: Path, line: int, stamp: str) -> datetime:
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        what = f"TIMESTAMP is {quoted(stamp)}, which no calendar has"
        raise bad_line(path, line, what, "such as 2023-11-16 18:15") from None


def _is_empty(text: str, dialect: Dialect) -> bool:
    """Whether a line is right but for a length of 0."""
    stamp, *lengths = text.strip().split(",")
    sound = re.compile(r"0|[1-9]\d{0,8}", re.ASCII).fullmatch
    return (
        dialect.stamp.fullmatch(stamp) is not None
        and len(lengths) == 2
        and all(map(sound, lengths))
        and "0" in lengths
    )


def _explain(path: Path, line: int, text: str, dialect: Dialect) -> TraceError:
    """Find what is wrong with a line that the regular expression refused."""
    fields = text.strip().split(",")
    if len(fields) != 3:
        return bad_line(path, line, f"{len(fields)} fields: {quoted(text.strip())}", HEADER)
    if dialect.stamp.fullmatch(fields[0]) is None:
        what = f"TIMESTAMP is {quoted(fields[0])}"
        return bad_line(path, line, what, f"such as {dialect.example}")
    try:
        length_of_text("ContextTokens", fields[1])
        length_of_text("GeneratedTokens", fields[2])
    except FieldError as error:
        return bad_line(path, line, error.what, error.expected)
    return bad_line(path, line, f"not readable: {quoted(text.strip())}", HEADER)


AZURE_2023 = TraceFormat(
    name="azure-2023",
    title=f"CSV with {HEADER}",
    matches=is_azure,
    open=_open,
    quick=_quick,
)
