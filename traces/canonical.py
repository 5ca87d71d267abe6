"""The canonical format: one JSON object per line, with the field names of Mooncake's traces.

`timestamp` (ms), `input_length`, `output_length`, and optionally `slo_tbt_ms`, `slo_ttft_ms` and
`hash_ids` (the prompt's blocks, for prefix reuse, which is not modelled: a notice says so).
Mooncake's own public traces (Qin et al., FAST 2025) have `hash_ids` only. They are told apart so
that a run says where its requests come from. The traces of Qwen on Bailian (Wang et al., ATC 2025)
have the same fields and more, `hash_ids` of 16 tokens each, and stamps in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orbitflow.traces.fields import FieldError, length, limit_s, quoted
from orbitflow.traces.rows import (
    ReadOptions,
    Source,
    TraceFormat,
    TraceRow,
    bad_line,
    numbered_lines,
)
from orbitflow.traces.stamps import StampClock
from orbitflow.units import TimeUnit

EXAMPLE = '{"timestamp": 0, "input_length": 6758, "output_length": 500}'
REQUIRED = ("timestamp", "input_length", "output_length")
READ = frozenset((*REQUIRED, "slo_tbt_ms", "slo_ttft_ms"))
KNOWN = READ | {"hash_ids"}
OF_BAILIAN = frozenset(("chat_id", "parent_chat_id", "turn", "type"))
NO_REUSE = "reuse of prefixes is not modelled"


def is_canonical(head: str) -> bool:
    """Say whether a file that begins with `head` means to be in this format."""
    first = head.lstrip().partition("\n")[0]
    is_like = first.startswith("{") and any(f'"{name}"' in first for name in REQUIRED)
    return is_like and not _is_bailian(head)


def _is_bailian(head: str) -> bool:
    first = head.lstrip().partition("\n")[0]
    return first.startswith("{") and all(f'"{n}"' in first for n in ("chat_id", *REQUIRED))


def open_canonical(path: Path, options: ReadOptions) -> Source:
    """Open a file of JSON lines; times count from its first line."""
    return _open(path, options, StampClock(TimeUnit.MS, options.time_unit), KNOWN)


def _open_bailian(path: Path, options: ReadOptions) -> Source:
    clock = StampClock(TimeUnit.S, options.time_unit, is_sure=True)
    return _open(path, options, clock, KNOWN | OF_BAILIAN)


def _open(path: Path, options: ReadOptions, clock: StampClock, known: frozenset[str]) -> Source:
    extra: set[str] = set()

    def notices() -> list[str]:
        fate = "carried over" if options.hash_ids else "ignored"
        ignored = quoted(", ".join(sorted(extra - known)))
        return [
            *([f"{path.name}: hash_ids {fate}; {NO_REUSE}"] if "hash_ids" in extra else []),
            *([f"{path.name}: unknown fields ignored: {ignored}"] if extra - known else []),
        ]

    rows = _rows(path, options.hash_ids, extra, clock)
    return Source(rows, notices=notices, clock=clock)


def _rows(
    path: Path, keep_hash_ids: bool, extra: set[str], clock: StampClock
) -> Iterator[TraceRow]:
    """Give the rows; fields that no simulation reads are gathered in `extra`."""
    for line, text in numbered_lines(path):
        try:
            record = _record(text)
            at_s = clock.seconds(record, "timestamp")
            if not record.keys() <= READ:
                extra |= record.keys() - READ
            yield TraceRow(
                line,
                at_s,
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
    time_unit=TimeUnit.MS,
)


def _is_mooncake(head: str) -> bool:
    first = head.lstrip().partition("\n")[0]
    return is_canonical(head) and '"hash_ids"' in first and '"slo_' not in first


MOONCAKE = TraceFormat(
    name="mooncake",
    title="JSON lines with timestamp (ms), input_length, output_length, hash_ids",
    matches=_is_mooncake,
    open=open_canonical,
    time_unit=TimeUnit.MS,
)

BAILIAN = TraceFormat(
    name="bailian",
    title="JSON lines with timestamp (s), input_length, output_length, chat_id",
    matches=_is_bailian,
    open=_open_bailian,
    time_unit=TimeUnit.S,
)
