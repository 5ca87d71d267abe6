"""Any CSV file whose columns a person names: `time=start,prompt=tokens in,output=tokens out`.

Stamps are numbers or dates. A name that ends in a unit (`start_ms`) states it; otherwise a person
does, or the first stamp as an epoch, or else they are taken as seconds, which is said. Fields may
be quoted; commas, semicolons or tabs stand between them. A length of 0 is a request that failed: it
is left out, and counted.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from orbitflow.errors import TraceError, UserError
from orbitflow.traces.fields import FieldError, length_of_text, quoted
from orbitflow.traces.rows import (
    ColumnNames,
    ReadOptions,
    Source,
    TraceFormat,
    TraceRow,
    bad_line,
    undecodable,
)
from orbitflow.traces.stamps import StampClock
from orbitflow.units import TimeUnit

EXAMPLE = "time=start,prompt=tokens_in,output=tokens_out"
_UNITS = {
    **{unit.value: unit for unit in TimeUnit},
    "sec": TimeUnit.S,
    "secs": TimeUnit.S,
    "seconds": TimeUnit.S,
    "millis": TimeUnit.MS,
    "milliseconds": TimeUnit.MS,
    "micros": TimeUnit.US,
    "microseconds": TimeUnit.US,
    "nanos": TimeUnit.NS,
    "nanoseconds": TimeUnit.NS,
}
_UNIT_OF_NAME = re.compile(r"[_ (\[.-]([a-z]+)[)\]]?")
_WHOLE = re.compile(r"(\d+)\.0*", re.ASCII)


def read_column_names(text: str) -> ColumnNames:
    """Read `time=A,prompt=B,output=C`, and `id=D` if it is given.

    >>> read_column_names("time=start,prompt=in,output=out").prompt
    'in'

    Raise a UserError if it is anything else.
    """
    names: dict[str, str] = {}
    for part in text.split(","):
        key, equals, name = (word.strip() for word in part.partition("="))
        if not equals or not name or key in names or key not in ColumnNames._fields:
            raise UserError(
                f"--columns: {quoted(part)}: write {EXAMPLE}, and id=... if there is one"
            )
        names[key] = name
    if missing := [key for key in ("time", "prompt", "output") if key not in names]:
        raise UserError(f"--columns lacks {', '.join(missing)}: write {EXAMPLE}")
    return ColumnNames(**names)


def unit_of_name(name: str) -> TimeUnit | None:
    """The unit that the name of a column ends in, as `start_ms` and `Time (s)` do."""
    match = re.search(f"(?:{_UNIT_OF_NAME.pattern}|^(seconds))$", name.lower())
    return None if match is None else _UNITS.get(match[1] or match[2])


def _open(path: Path, options: ReadOptions) -> Source:
    names = options.columns
    if names is None:
        raise UserError(f"{path}: csv needs the names of its columns: --columns {EXAMPLE}")
    return open_csv(path, names, options.time_unit)


def open_csv(path: Path, names: ColumnNames, time_unit: TimeUnit | None = None) -> Source:
    """Open a CSV file with these columns."""
    known = unit_of_name(names.time)
    clock = StampClock(known, time_unit, is_sure=known is not None)
    failed: list[int] = []

    def notices() -> list[str]:
        count = len(failed)
        return [f"{path.name}: {count:,} lines with a length of 0 left out"] if count else []

    return Source(_rows(path, names, clock, failed), notices=notices, clock=clock)


def _rows(
    path: Path, names: ColumnNames, clock: StampClock, failed: list[int]
) -> Iterator[TraceRow]:
    records = _records(path)
    line, header = next(records, (1, []))
    header = [name.strip() for name in header]
    at, prompt, output = (_place(path, line, header, name) for name in names[:3])
    named = None if names.id is None else _place(path, line, header, names.id)
    for line, fields in records:
        if len(fields) != len(header):
            what = f"{len(fields)} fields: {quoted(','.join(fields))}"
            raise bad_line(path, line, what, f"{len(header)}, as in the header")
        try:
            at_s = clock.seconds_of_text(names.time, fields[at].strip())
            prompt_tokens = _length(names.prompt, fields[prompt])
            output_tokens = _length(names.output, fields[output])
        except FieldError as error:
            who = "" if named is None else f"request {quoted(fields[named])}: "
            raise bad_line(path, line, who + error.what, error.expected) from None
        if prompt_tokens and output_tokens:
            yield TraceRow(line, at_s, prompt_tokens, output_tokens)
        else:
            failed.append(line)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Give the records with the lines on which they end; the header is the first."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            marks = max(",;\t", key=file.readline().count)
            file.seek(0)
            records = csv.reader(file, delimiter=marks, strict=True)
            for fields in records:
                line = records.line_num
                if fields:
                    yield line, fields
    except UnicodeDecodeError as error:
        raise undecodable(path) from error
    except csv.Error as error:
        raise bad_line(path, line + 1, f"not CSV ({error})", "quotes that close") from None


def _place(path: Path, line: int, header: list[str], name: str) -> int:
    if header.count(name) == 1:
        return header.index(name)
    times = "no" if name not in header else "more than one"
    has = ", ".join(header)
    shown = has if len(has) <= 300 else f"{has[:297]}..."
    raise TraceError(f"{path}:{line}: {times} column {quoted(name)}; the header has {shown!a}")


def _length(name: str, text: str) -> int:
    """Return a number of tokens, 0 included; tables write whole numbers as 12.0 as well."""
    text = text.strip()
    if match := _WHOLE.fullmatch(text):
        text = match[1]
    return 0 if text == "0" else length_of_text(name, text)


CSV_COLUMNS = TraceFormat(
    name="csv",
    title="CSV with the columns that --columns names",
    matches=lambda head: False,
    open=_open,
    time_unit=TimeUnit.S,
)
