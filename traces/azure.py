"""Azure's LLM inference traces: CSV with a time stamp and two lengths.

2023  Patel et al., Splitwise (ISCA 2024); stamps of seven decimals without a zone
2024  Stojkovic et al., DynamoLLM (HPCA 2025); stamps that say they are UTC. A week of one service
      is 16 to 27 million lines, so a line without prompt or answer is left out and counted rather
      than a reason to refuse the file.

One regular expression takes a line apart, and the date is only read when the minute changes; a line
that does not fit is looked at again to say why. A file that other programs wrote anew (quotes, a T,
a Z, other zones, more digits) is known by its first lines and read as any CSV with dates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orbitflow.errors import TraceError
from orbitflow.traces.azure_blocks import read_columns
from orbitflow.traces.csv_columns import open_csv
from orbitflow.traces.fields import FieldError, length_of_text, quoted
from orbitflow.traces.rows import (
    ColumnNames,
    Columns,
    ReadOptions,
    Source,
    TraceFormat,
    TraceRow,
    bad_line,
    numbered_lines,
)
from orbitflow.traces.stamps import read_date

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


_COLUMNS = ColumnNames(*HEADER.split(","))
_NAIVE = dialect("", "2023-11-16 18:15:46.6805900")


def is_azure(head: str) -> bool:
    """Say whether a file that begins with `head` has the header of Azure's traces."""
    return head.partition("\n")[0].strip().replace('"', "") == HEADER


def _open_2023(path: Path, options: ReadOptions) -> Source:
    if _is_rewritten(path):
        return open_csv(path, _COLUMNS)
    return Source(rows_of(path, _NAIVE))


def _is_rewritten(path: Path) -> bool:
    """Whether the first lines are right, but not as Azure writes them."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = (line for line in file if not line.isspace())
        header, first = (next(lines, "").strip() for _ in range(2))
    stamp = first.replace('"', "").partition(",")[0]
    as_ever = header == HEADER and '"' not in first and _NAIVE.stamp.fullmatch(stamp)
    try:
        return not as_ever and is_azure(header) and read_date(stamp) is not None
    except FieldError:
        return False


def _quick_2023(path: Path, limit: int | None) -> tuple[Columns, tuple[str, ...]] | None:
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
    open=_open_2023,
    quick=_quick_2023,
)


_UTC = dialect(r"\+00:00", "2024-05-10 00:00:00.009930+00:00")


def _is_azure_2024(head: str) -> bool:
    stamp = head.strip().partition("\n")[2].lstrip().partition(",")[0]
    return is_azure(head.lstrip()) and _UTC.stamp.fullmatch(stamp) is not None


def _open_2024(path: Path, options: ReadOptions) -> Source:
    empty: list[int] = []
    return Source(rows_of(path, _UTC, empty), notices=lambda: _notices(path, len(empty)))


def _quick_2024(path: Path, limit: int | None) -> tuple[Columns, tuple[str, ...]] | None:
    read = read_columns(path, limit, HEADER.encode(), b"+00:00", zeros=True)
    return None if read is None else (read[0], tuple(_notices(path, read[1])))


def _notices(path: Path, empty: int) -> list[str]:
    return [f"{path.name}: {empty:,} lines with a length of 0 left out"] if empty else []


AZURE_2024 = TraceFormat(
    name="azure-2024",
    title=f"CSV with {HEADER}, stamps ending in +00:00",
    matches=_is_azure_2024,
    open=_open_2024,
    quick=_quick_2024,
)
