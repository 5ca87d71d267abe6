"""The OrbitFlow paper's benchmark files: one JSON object with the server's limits and `requests`.

Arrivals count engine steps, not seconds. The file brings its batch size and, in vLLM's terms, its
KV capacity: `num_gpu_blocks_override` blocks of 16 tokens.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from orbitflow.errors import TraceError
from orbitflow.traces.fields import FieldError, length, quoted, stamp
from orbitflow.traces.guidellm import is_guidellm
from orbitflow.traces.rows import ReadOptions, Source, TraceFormat, TraceRow, bad_line, undecodable

BLOCK_TOKENS = 16
_REQUESTS = re.compile(r'\{.*"requests"\s*:\s*\{', re.DOTALL)


def _matches(head: str) -> bool:
    return _REQUESTS.match(head.lstrip()) is not None and not is_guidellm(head)


def _open(path: Path, options: ReadOptions) -> Source:
    record = _load(path)
    blocks = _limit(path, record, "num_gpu_blocks_override")
    rows = [_row(path, index, name, item) for index, (name, item) in _items(path, record)]
    in_order = sorted(rows, key=lambda row: row.arrival)
    notices = [] if in_order == rows else [f"{path.name}: requests sorted by arrival"]
    return Source(
        iter(in_order),
        arrival_unit="steps",
        max_batch=_limit(path, record, "batch_size"),
        kv_capacity_tokens=None if blocks is None else blocks * BLOCK_TOKENS,
        notices=lambda: notices,
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise undecodable(path) from None
    except json.JSONDecodeError as error:
        raise bad_line(path, error.lineno, f"not JSON ({error.msg})", "one JSON object") from None
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: not JSON ({error}); expected one JSON object") from None
    if type(record) is not dict or type(record.get("requests")) is not dict:
        raise TraceError(f"{path}: no object named requests; expected the paper's JSON")
    return record


def _items(path: Path, record: dict[str, Any]) -> enumerate[tuple[str, Any]]:
    return enumerate(record["requests"].items(), 1)


def _row(path: Path, index: int, name: str, item: Any) -> TraceRow:
    try:
        if type(item) is not dict:
            raise FieldError(f"it is {quoted(item)}", "input_length, output_length, arrival_time")
        at_steps = stamp(item, "arrival_time")
        return TraceRow(
            index, at_steps, length(item, "input_length"), length(item, "output_length")
        )
    except FieldError as error:
        where = f"{path}: request {quoted(name)}"
        raise TraceError(f"{where}: {error.what}; expected {error.expected}") from None


def _limit(path: Path, record: dict[str, Any], name: str) -> int | None:
    try:
        return None if record.get(name) is None else length(record, name)
    except FieldError as error:
        raise TraceError(f"{path}: {error.what}; expected {error.expected}") from None


PAPER = TraceFormat(
    name="orbitflow-paper",
    title='one JSON object with "requests", arrivals in engine steps',
    matches=_matches,
    open=_open,
)
