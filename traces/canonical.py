"""The canonical format: one JSON object per line, with the field names of Mooncake's traces.

`timestamp` (ms), `input_length`, `output_length`, and optionally `slo_tbt_ms`, `slo_ttft_ms` and
`hash_ids` (the prompt's blocks, for prefix reuse, which is not modelled: a notice says so).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orbitflow.traces.fields import FieldError, length, limit_s, quoted, stamp
from orbitflow.traces.rows import (
    ReadOptions,
    Source,
    TraceFormat,
    TraceRow,
    bad_line,
    numbered_lines,
)

EXAMPLE = '{"timestamp": 0, "input_length": 6758, "output_length": 500}'
REQUIRED = ("timestamp", "input_length", "output_length")
READ = frozenset((*REQUIRED, "slo_tbt_ms", "slo_ttft_ms"))
KNOWN = READ | {"hash_ids"}
NO_REUSE = "reuse of prefixes is not modelled"


def is_canonical(head: str) -> bool:
    """Say whether a file that begins with `head` means to be in this format."""
    first = head.lstrip().partition("\n")[0]
    return first.startswith("{") and any(f'"{name}"' in first for name in REQUIRED)


def open_canonical(path: Path, options: ReadOptions) -> Source:
    """Open a file of JSON lines; times count from its first line."""
    extra: set[str] = set()

    def notices() -> list[str]:
        fate = "carried over" if options.hash_ids else "ignored"
        ignored = quoted(", ".join(sorted(extra - KNOWN)))
        return [
            *([f"{path.name}: hash_ids {fate}; {NO_REUSE}"] if "hash_ids" in extra else []),
            *([f"{path.name}: unknown fields ignored: {ignored}"] if extra - KNOWN else []),
        ]

    return Source(_rows(path, options.hash_ids, extra), notices=notices)


def _rows(path: Path, keep_hash_ids: bool, extra: set[str]) -> Iterator[TraceRow]:
    """Give the rows; fields that no simulation reads are gathered in `extra`."""
    origin_ms: float | None = None
    for line, text in numbered_lines(path):
        try:
            record = _record(text)
            at_ms = stamp(record, "timestamp")
            if origin_ms is None:
                origin_ms = at_ms
            if not record.keys() <= READ:
                extra |= record.keys() - READ
            yield TraceRow(
                line,
                (at_ms - origin_ms) / 1000,
                length(record, "input_length"),
                length(record, "output_length"),
                limit_s(record, "slo_tbt_ms"),
                limit_s(record, "slo_ttft_ms"),
                _hash_ids(record) if keep_hash_ids else None,
            )
        except FieldError as error:
            raise bad_line(path, line, error.what, error.expected) from None


def _record(text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        raise FieldError(f"not JSON: {quoted(text.strip())}", f"one object, {EXAMPLE}") from None
    if type(record) is not dict:
        raise FieldError(f"not an object: {quoted(text.strip())}", f"one object, {EXAMPLE}")
    return record


def _hash_ids(record: dict[str, Any]) -> list[int] | None:
    value = record.get("hash_ids")
    if value is None or (type(value) is list and all(type(item) is int for item in value)):
        return value
    raise FieldError(f"hash_ids is {quoted(value)}", "a list of whole numbers")


CANONICAL = TraceFormat(
    name="canonical",
    title="JSON lines with timestamp (ms), input_length, output_length",
    matches=is_canonical,
    open=open_canonical,
)
