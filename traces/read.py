"""From a file to a Trace: find the format, stream its rows in order, pack them into columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from orbitflow.errors import TraceError
from orbitflow.traces.formats import find_format
from orbitflow.traces.rows import InOrder, Row
from orbitflow.traces.trace import Trace, on_grid

_NONE = float("nan")


def read_trace(path: str | Path, format: str = "auto") -> Trace:
    """Read a trace file; arrivals count from its first request.

    Raise a TraceError with file and line if anything in it is wrong.
    """
    path = Path(path)
    found = find_format(path, format)
    source = found.open(path)
    rows = InOrder(source.rows, path)
    arrival, prompt_tokens, output_tokens, slo_tbt_s, slo_ttft_s = _columns(rows)
    if not arrival:
        raise TraceError(f"{path}: no requests; expected at least one ({found.title})")
    stamps = np.frombuffer(arrival, dtype=np.float64)
    return Trace(
        name=path.stem,
        source=f"{path} ({found.name})",
        format=found.name,
        arrival=on_grid(stamps - stamps[0]),
        arrival_unit=source.arrival_unit,
        prompt_tokens=np.frombuffer(prompt_tokens, dtype=np.int64),
        output_tokens=np.frombuffer(output_tokens, dtype=np.int64),
        slo_tbt_s=np.frombuffer(slo_tbt_s, dtype=np.float64),
        slo_ttft_s=np.frombuffer(slo_ttft_s, dtype=np.float64),
        max_batch=source.max_batch,
        kv_capacity_tokens=source.kv_capacity_tokens,
        notices=(*source.notices, *rows.notices()),
    )


def _columns(
    rows: Iterable[Row],
) -> tuple[array[float], array[int], array[int], array[float], array[float]]:
    arrival, prompt_tokens, output_tokens = array("d"), array("q"), array("q")
    slo_tbt_s, slo_ttft_s = array("d"), array("d")
    for _, at, prompt, output, tbt_s, ttft_s, _ in rows:
        arrival.append(at)
        prompt_tokens.append(prompt)
        output_tokens.append(output)
        slo_tbt_s.append(_NONE if tbt_s is None else tbt_s)
        slo_ttft_s.append(_NONE if ttft_s is None else ttft_s)
    return arrival, prompt_tokens, output_tokens, slo_tbt_s, slo_ttft_s
