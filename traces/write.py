"""The writers of the canonical format and of the paper's, and the conversion of any readable file.

Rows stream from reader to writer, so a conversion holds no trace in memory. A file appears whole or
not at all.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from orbitflow.errors import TraceError, UserError
from orbitflow.files import replacing
from orbitflow.traces.formats import doubts, open_trace
from orbitflow.traces.paper import BLOCK_TOKENS
from orbitflow.traces.rows import ColumnNames, InOrder, ReadOptions, TraceRow
from orbitflow.traces.trace import Trace
from orbitflow.units import TimeUnit


class Written(NamedTuple):
    """What was written: how many requests, and the time from the first to the last."""

    requests: int
    span_s: float


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion did: how many requests it wrote, and what it has to say about them."""

    requests: int
    notices: tuple[str, ...]


def write_canonical(trace: Trace, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a trace as canonical JSON lines.

    Raise a TraceError if the file exists and `overwrite` is false, if it cannot be written, or if
    arrivals are in engine steps.
    """
    rows = (
        TraceRow(request.id, *request[1:])  # a request's fields after its number are a row's
        for request in trace.requests()
    )
    write_rows(rows, Path(path), overwrite=overwrite)


def convert(
    path: str | Path,
    out: str | Path,
    *,
    format: str = "auto",
    step_s: float | None = None,
    rate: float | None = None,
    tokens_per_word: float | None = None,
    seed: int | None = None,
    time_unit: TimeUnit | None = None,
    columns: ColumnNames | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a trace file to the canonical format, with the hash_ids that it may carry.

    `rate`, `tokens_per_word` and `seed` are for files of text: see ReadOptions.
    `step_s` is the length of an engine step, for files that count arrivals in steps. `time_unit`
    and `columns` as in ReadOptions.
    Raise a TraceError if the file is wrong, or `out` is in the way.
    """
    path = Path(path)
    chosen = {"rate": rate, "tokens_per_word": tokens_per_word, "seed": seed}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    options = ReadOptions(time_unit=time_unit, columns=columns, hash_ids=True, **given)
    found, source = open_trace(path, format, options)
    if given and not found.is_text:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(f"{names}: {path} ({found.name}) has lengths and arrivals of its own")
    if source.arrival_unit == "steps" and step_s is None:
        raise TraceError(f"{path}: arrivals are in engine steps; say --step-time, such as 50ms")
    if step_s is not None and not (math.isfinite(step_s) and step_s > 0):
        raise UserError(f"a step of {step_s} s: must be finite and more than 0, such as 0.05")
    scale = step_s if step_s is not None and source.arrival_unit == "steps" else 1.0
    rows = InOrder(source.rows, path)
    written = write_rows(rows, Path(out), scale=scale, overwrite=overwrite)
    notices = [*source.notices(), *rows.notices(), *doubts(source, path, *written)]
    if source.max_batch or source.kv_capacity_tokens:
        notices.append(
            f"{path.name}: left behind: batch size {source.max_batch}, "
            f"KV capacity {source.kv_capacity_tokens} tokens"
        )
    return Conversion(written.requests, tuple(notices))


def write_rows(
    rows: Iterable[TraceRow], path: Path, *, scale: float = 1.0, overwrite: bool = False
) -> Written:
    """Write rows that are in order, their times multiplied by `scale`; return what was written."""
    count = 0
    at = origin = 0.0
    with whole_file(path, overwrite) as file:
        for count, row in enumerate(rows, 1):
            if count == 1:
                origin = row.arrival
            at = row.arrival - origin
            file.write(_line(row, at * scale))
        if count == 0:
            raise TraceError(f"{path}: nothing to write; the trace has no requests")
    return Written(count, at * scale)


def _line(row: TraceRow, at_s: float) -> str:
    text = (
        f'{{"timestamp": {_number(round(at_s * 1e9) / 1e6)}, '
        f'"input_length": {row.prompt_tokens}, "output_length": {row.output_tokens}'
    )
    if row.slo_tbt_s is not None:
        text += f', "slo_tbt_ms": {_number(round(row.slo_tbt_s * 1000, 9))}'
    if row.slo_ttft_s is not None:
        text += f', "slo_ttft_ms": {_number(round(row.slo_ttft_s * 1000, 9))}'
    if row.hash_ids is not None:
        text += f', "hash_ids": {row.hash_ids}'
    return text + "}\n"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


@contextmanager
def whole_file(path: Path, overwrite: bool) -> Iterator[TextIO]:
    """Open a file that takes its name only when the block ends well.

    Raise a TraceError if it is there and `overwrite` is false, or if it cannot be written.
    """
    if os.path.isdir(path):
        raise TraceError(f"{path}: is a folder; expected the name of a file to write")
    if os.path.exists(path) and not overwrite:
        raise TraceError(f"{path}: exists; choose another name, or --force to replace it")
    try:
        with (
            replacing(path) as neighbour,
            neighbour.open("w", encoding="utf-8", newline="\n") as file,
        ):
            yield file
    except OSError as error:
        raise TraceError(f"{path}: cannot be written ({error.strerror})") from None


def write_paper(trace: Trace, path: Path, *, overwrite: bool = False) -> None:
    """Write a trace whose arrivals are in engine steps as one JSON object.

    Raise a TraceError if arrivals are in seconds, if the file exists and `overwrite` is false, or
    if it cannot be written.
    """
    if trace.arrival_unit != "steps":
        raise TraceError(f"{trace.name}: arrivals are in seconds; the paper's files count steps")
    columns = (trace.arrival, trace.prompt_tokens, trace.output_tokens)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    capacity = trace.kv_capacity_tokens
    limits = {
        "batch_size": trace.max_batch,
        "num_gpu_blocks_override": None if capacity is None else capacity // BLOCK_TOKENS,
    }
    content = {
        **{name: limit for name, limit in limits.items() if limit is not None},
        "arrival_pattern": f"{trace.source} (unit: engine steps)",
        "requests": {
            f"request_{number}": {
                "input_length": prompt,
                "output_length": output,
                "arrival_time": int(at) if at.is_integer() else at,
            }
            for number, (at, prompt, output) in enumerate(rows)
        },
    }
    with whole_file(path, overwrite) as file:
        file.write(json.dumps(content, indent=1) + "\n")
