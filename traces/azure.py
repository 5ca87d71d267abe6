"""Azure's LLM inference traces of 2023: CSV with a time stamp of seven decimals and two lengths.

Patel et al., Splitwise (ISCA 2024). One regular expression takes a line apart, and the date is
only read when the minute changes; a line that does not fit is looked at again to say why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from orbitflow.errors import TraceError
from orbitflow.traces.fields import FieldError, length_of_text, quoted
from orbitflow.traces.rows import Row, Source, TraceFormat, bad_line, numbered_lines

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
_STAMP = r"(\d{4}-\d\d-\d\d [012]\d:[0-5]\d):([0-5]\d(?:\.\d{1,9})?)"
_LINE = re.compile(_STAMP + r",([1-9]\d{0,8}),([1-9]\d{0,8})\s*", re.ASCII)


def _matches(head: str) -> bool:
    return head.partition("\n")[0].strip() == HEADER


def _open(path: Path, /, *, hash_ids: bool = False) -> Source:
    return Source(_rows(path))


def _rows(path: Path) -> Iterator[Row]:
    lines = numbered_lines(path)
    line, header = next(lines)  # a file without lines is refused before
    if header.strip() != HEADER:
        raise bad_line(path, line, f"the header is {quoted(header.strip())}", HEADER)
    minute, minute_s = "", 0.0
    origin: datetime | None = None
    for line, text in lines:
        match = _LINE.fullmatch(text)
        if match is None:
            raise _explain(path, line, text)
        stamp, second, prompt_tokens, output_tokens = match.groups()
        if stamp != minute:
            minute, moment = stamp, _moment(path, line, stamp)
            origin = origin or moment
            minute_s = (moment - origin).total_seconds()
        yield Row(line, minute_s + float(second), int(prompt_tokens), int(output_tokens))


def _moment(path: Path, line: int, stamp: str) -> datetime:
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        what = f"TIMESTAMP is {quoted(stamp)}, which no calendar has"
        raise bad_line(path, line, what, "such as 2023-11-16 18:15") from None


def _explain(path: Path, line: int, text: str) -> TraceError:
    """Find what is wrong with a line that the regular expression refused."""
    fields = text.strip().split(",")
    if len(fields) != 3:
        return bad_line(path, line, f"{len(fields)} fields: {quoted(text.strip())}", HEADER)
    if re.fullmatch(_STAMP, fields[0], re.ASCII) is None:
        what = f"TIMESTAMP is {quoted(fields[0])}"
        return bad_line(path, line, what, "such as 2023-11-16 18:15:46.6805900")
    try:
        length_of_text("ContextTokens", fields[1])
        length_of_text("GeneratedTokens", fields[2])
    except FieldError as error:
        return bad_line(path, line, error.what, error.expected)
    return bad_line(path, line, f"not readable: {quoted(text.strip())}", HEADER)


AZURE_2023 = TraceFormat(
    name="azure-2023",
    title=f"CSV with {HEADER}",
    matches=_matches,
    open=_open,
)
