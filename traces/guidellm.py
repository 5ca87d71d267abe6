"""guidellm: the reports of its benchmarks as JSON, with every request that was sent.

A report has `benchmarks`, one for each rate of a sweep; a benchmark has `requests` by what became
of them. Those that were answered are read: when they began (epochs in seconds), prompt and output
tokens. Versions differ in where a request has them, so places are tried in turn. Benchmarks
of a report were run one after another, and so they stand in the trace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbitflow.errors import TraceError
from orbitflow.traces.fields import FieldError, length, quoted
from orbitflow.traces.rows import ReadOptions, Source, TraceFormat, TraceRow, bad_line, undecodable
from orbitflow.traces.stamps import StampClock
from orbitflow.units import TimeUnit, format_seconds

_BENCHMARKS = re.compile(r'"benchmarks"\s*:\s*\[')
_ONE = re.compile(r'"type_"\s*:\s*"generative_benchmark"')
_START = (
    ("request_start_time",),
    ("start_time",),
    ("info", "timings", "request_start"),
    ("info", "timings", "resolve_start"),
    ("scheduler_info", "request_timings", "request_start"),
    ("scheduler_info", "resolve_start"),
)
_PROMPT = (("prompt_tokens",), ("input_metrics", "total_tokens"), ("input_metrics", "text_tokens"))
_OUTPUT = (
    ("output_tokens",),
    ("output_metrics", "total_tokens"),
    ("output_metrics", "text_tokens"),
)
_TOTALS = (("total_count", "successful"), ("metrics", "request_totals", "successful"))
_MOST_STARTS = 10


@dataclass(slots=True)
class _Tally:
    not_answered: int = 0
    without_lengths: int = 0
    not_kept: int = 0
    begins_s: list[float] = field(default_factory=list)


def is_guidellm(head: str) -> bool:
    """Say whether a file that begins with `head` is a report of guidellm."""
    is_object = head.lstrip().startswith("{")
    return is_object and any(mark.search(head) is not None for mark in (_BENCHMARKS, _ONE))


def _open(path: Path, options: ReadOptions) -> Source:
    clock = StampClock(TimeUnit.S, options.time_unit, is_sure=True)
    tally = _Tally()
    rows = list(_rows(path, _load(path), clock, tally))
    rows.sort(key=lambda row: row.arrival)
    return Source(iter(rows), notices=lambda: _notices(path, tally), clock=clock)


def _load(path: Path) -> list[Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise undecodable(path) from None
    except json.JSONDecodeError as error:
        raise bad_line(path, error.lineno, f"not JSON ({error.msg})", "one JSON object") from None
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: not JSON ({error}); expected one JSON object") from None
    found = record.get("benchmarks", [record]) if type(record) is dict else None
    if type(found) is list:
        return found
    raise TraceError(f"{path}: no list named benchmarks; expected a report of guidellm")


def _rows(
    path: Path, benchmarks: list[Any], clock: StampClock, tally: _Tally
) -> Iterator[TraceRow]:
    number = 0
    for place, benchmark in enumerate(benchmarks, 1):
        begins_s: float | None = None
        answered = _answered(path, place, benchmark, tally)
        for index, request in enumerate(answered, 1):
            number += 1
            try:
                row = _row(number, request, clock)
            except FieldError as error:
                where = f"{path}: benchmark {place}, request {index}"
                raise TraceError(f"{where}: {error.what}; expected {error.expected}") from None
            if row is None:
                tally.without_lengths += 1
                continue
            begins_s = row.arrival if begins_s is None else min(begins_s, row.arrival)
            yield row
        if begins_s is not None:
            tally.begins_s.append(begins_s)


def _answered(path: Path, place: int, benchmark: Any, tally: _Tally) -> list[Any]:
    """Return the requests that were answered, and count what the report has beside them."""
    requests = _at(benchmark, ("requests",))
    answered = _at(requests, ("successful",))
    if type(answered) is not list:
        raise TraceError(
            f"{path}: benchmark {place}: no list requests.successful; expected a report with the "
            "requests, as guidellm writes to benchmarks.json"
        )
    for name in ("incomplete", "errored"):
        others = _at(requests, (name,))
        tally.not_answered += len(others) if type(others) is list else 0
    total = _first(benchmark, _TOTALS)
    tally.not_kept += max(0, total - len(answered)) if type(total) is int else 0
    return answered


def _row(number: int, request: Any, clock: StampClock) -> TraceRow | None:
    if type(request) is not dict:
        raise FieldError(f"it is {quoted(request)}", "an object")
    prompt, output = _first(request, _PROMPT), _first(request, _OUTPUT)
    if not prompt or not output:
        return None
    lengths = {"prompt_tokens": prompt, "output_tokens": output}
    return TraceRow(
        number,
        clock.seconds({"start_time": _first(request, _START)}, "start_time"),
        length(lengths, "prompt_tokens"),
        length(lengths, "output_tokens"),
    )


def _first(record: Any, places: tuple[tuple[str, ...], ...]) -> Any:
    """The value at the first of the places that has one."""
    return next((value for at in places if (value := _at(record, at)) is not None), None)


def _at(record: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        record = record.get(name) if isinstance(record, Mapping) else None
    return record


def _notices(path: Path, tally: _Tally) -> list[str]:
    counts = (
        f"{tally.not_answered:,} without an answer" if tally.not_answered else "",
        f"{tally.without_lengths:,} without token counts" if tally.without_lengths else "",
    )
    left_out = " and ".join(filter(None, counts))
    notices = [f"{path.name}: requests left out: {left_out}"] if left_out else []
    if tally.not_kept:
        notices.append(
            f"{path.name}: a sample: {tally.not_kept:,} more requests were answered than the "
            "report kept, so the rate is too low"
        )
    if len(tally.begins_s) > 1:
        first = min(tally.begins_s)
        begins = ", ".join(format_seconds(at - first) for at in tally.begins_s[:_MOST_STARTS])
        more = ", ..." if len(tally.begins_s) > _MOST_STARTS else ""
        notices.append(
            f"{path.name}: {len(tally.begins_s)} benchmarks one after another, beginning at "
            f"{begins}{more}; `orbitflow trace slice` takes one out"
        )
    return notices


GUIDELLM = TraceFormat(
    name="guidellm",
    title="JSON report of guidellm with benchmarks and their requests",
    matches=is_guidellm,
    open=_open,
    time_unit=TimeUnit.S,
)
