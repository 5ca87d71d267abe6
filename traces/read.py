"""From a file to a Trace: find the format, stream its rows in order, pack them into columns.

Only columns are kept, eight bytes per field and request, and only those that some request has.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from orbitflow.errors import TraceError, UserError
from orbitflow.traces.formats import find_format
from orbitflow.traces.rows import Columns, InOrder, ReadOptions, Source, TraceFormat, padded
from orbitflow.traces.trace import Trace

_DEFAULTS = ReadOptions()


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
    found = find_format(path, format)
    source = found.open(path, options)
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
    return columns, (*source.notices(), *rows.notices())
