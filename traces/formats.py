"""The registry of trace formats, and the way from a file to a Trace.

A file's content says which format it is; its suffix says nothing. The first format that matches
wins, so a special case stands above the general one; the columns of any other CSV a person names.
Rows stream in order into columns; only these are kept, eight bytes per field and request, and only
those that some request has.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import numpy as np

from orbitflow.errors import TraceError, UserError, nearest
from orbitflow.traces.azure import AZURE_2023, AZURE_2024
from orbitflow.traces.burstgpt import BURSTGPT
from orbitflow.traces.canonical import BAILIAN, CANONICAL, MOONCAKE
from orbitflow.traces.csv_columns import CSV_COLUMNS
from orbitflow.traces.fields import quoted
from orbitflow.traces.guidellm import GUIDELLM
from orbitflow.traces.paper import PAPER
from orbitflow.traces.rows import (
    Columns,
    InOrder,
    ReadOptions,
    Source,
    TraceFormat,
    padded,
    undecodable,
)
from orbitflow.traces.sharegpt import SHAREGPT
from orbitflow.traces.trace import Trace

FORMATS: tuple[TraceFormat, ...] = (
    PAPER,
    MOONCAKE,
    CANONICAL,
    AZURE_2024,
    AZURE_2023,
    BURSTGPT,
    SHAREGPT,
    BAILIAN,
    GUIDELLM,
    CSV_COLUMNS,
)
HEAD_BYTES = 64 * 1024


def find_format(path: Path, name: str = "auto") -> TraceFormat:
    """Return the format called `name`, or with auto the one that the file's first lines are in.

    Raise a TraceError if the file cannot be opened, is empty, or is in no known format.
    """
    head = _head(path)
    if name != "auto":
        return _named(name)
    text = head.decode("utf-8", errors="replace").removeprefix("\ufeff")
    for known in FORMATS:
        if known.matches(text):
            return known
    if "\ufffd" in text[:-1]:
        raise undecodable(path)
    tried = ", ".join(known.name for known in FORMATS)
    first = quoted(text.strip().partition("\n")[0])
    raise TraceError(
        f"{path}:1: not a known trace format ({first}; name a CSV's --columns); "
        f"expected one of: {tried}"
    )


def _named(name: str) -> TraceFormat:
    for known in FORMATS:
        if known.name == name:
            return known
    hint = nearest(name, ["auto", *(known.name for known in FORMATS)])
    raise TraceError(f"unknown trace format {quoted(name)}; {hint}")


def _head(path: Path) -> bytes:
    if os.path.isdir(path):
        raise TraceError(f"{path}: is a folder; expected a trace file")
    if os.path.exists(path) and not os.path.isfile(path):
        raise TraceError(f"{path}: is a pipe or device; expected a file, which is read twice")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file; expected a trace file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TraceError(f"{path}: cannot be read ({reason})") from None
    if not head.strip():
        raise TraceError(f"{path}: the file is empty; expected at least one request")
    return head


_DEFAULTS = ReadOptions()


def open_trace(path: Path, format: str, options: ReadOptions) -> tuple[TraceFormat, Source]:
    """Return the format of a file and the open file.

    Raise a TraceError as `find_format` does, and a UserError for options that the format has no
    use for.
    """
    if options.columns is not None and format not in ("auto", CSV_COLUMNS.name):
        raise UserError(f"--columns with --format {format}: leave one of them out")
    found = find_format(path, format if options.columns is None else CSV_COLUMNS.name)
    if options.time_unit is not None and found.time_unit is None:
        raise UserError(
            f"--time-unit {options.time_unit}: {path} ({found.name}) has no numbers as time stamps"
        )
    return found, found.open(path, options)


def doubts(source: Source, path: Path, requests: int, span_s: float) -> list[str]:
    """What is to be said of a file's time stamps once it has been read."""
    if source.clock is None:
        return []
    said = (*source.clock.notices, *source.clock.doubts(requests, span_s))
    return [f"{path.name}: {text}" for text in said]


def read_trace(
    path: str | Path,
    format: str = "auto",
    *,
    limit: int | None = None,
    options: ReadOptions = _DEFAULTS,
) -> Trace:
    """Read a trace file, or its first `limit` requests; arrivals count from its first request.

    With a limit, reading stops once no later line can be among them.
    Raise a TraceError with file and line if anything that was read is wrong.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise UserError(f"{limit} requests: must be at least 1")
    found, source = open_trace(path, format, options)
    columns, notices = _columns(found, source, path, limit)
    if not columns.arrival:
        what = f"{path}: no requests; expected at least one ({found.title})"
        raise TraceError("; ".join((what, *notices)))
    return Trace(
        name=path.stem,
        source=f"{path} ({found.name})",
        format=found.name,
        arrival=columns.since_the_first(),
        arrival_unit=source.arrival_unit,
        prompt_tokens=np.frombuffer(columns.prompt_tokens, dtype=np.int64),
        output_tokens=np.frombuffer(columns.output_tokens, dtype=np.int64),
        slo_tbt_s=padded(columns.slo_tbt_s, len(columns.arrival)),
        slo_ttft_s=padded(columns.slo_ttft_s, len(columns.arrival)),
        max_batch=source.max_batch,
        kv_capacity_tokens=source.kv_capacity_tokens,
        notices=notices,
    )


def _columns(
    found: TraceFormat, source: Source, path: Path, limit: int | None
) -> tuple[Columns, tuple[str, ...]]:
    if found.quick is not None and (result := found.quick(path, limit)) is not None:
        return result
    rows = InOrder(source.rows, path)
    columns = Columns()
    columns.extend(islice(rows, limit))
    span_s = columns.arrival[-1] - columns.arrival[0] if columns.arrival else 0.0
    of_stamps = doubts(source, path, len(columns.arrival), span_s)
    return columns, (*source.notices(), *rows.notices(), *of_stamps)
