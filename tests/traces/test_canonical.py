"""The canonical format: what is written is read again to the bit; disorder is mended or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitflow.errors import TraceError
from orbitflow.traces import Trace, read_trace, write_canonical
from orbitflow.traces.rows import InOrder, TraceRow
from orbitflow.traces.write import convert

Write = Callable[[str | bytes], Path]
LIMIT_MS = st.none() | st.integers(1, 10**7).map(lambda tenths: tenths / 10)
REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 10**12),  # gap in nanoseconds
        st.integers(1, 10**9),
        st.integers(1, 10**9),
        LIMIT_MS,
        LIMIT_MS,
    ),
    min_size=1,
    max_size=30,
)


def column(limits_ms: list[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([np.nan if limit is None else limit / 1000 for limit in limits_ms])


@given(requests=REQUESTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(
    requests: list[tuple[int, int, int, float | None, float | None]], tmp_path: Path
) -> None:
    gaps_ns, prompts, outputs, tbt_ms, ttft_ms = (
        list(items) for items in zip(*requests, strict=True)
    )
    arrival_ns = np.cumsum([0, *gaps_ns[1:]])
    trace = Trace(
        name="round_trip",
        source="",
        format="canonical",
        arrival=arrival_ns / 1e9,
        arrival_unit="s",
        prompt_tokens=np.array(prompts),
        output_tokens=np.array(outputs),
        slo_tbt_s=column(tbt_ms),
        slo_ttft_s=column(ttft_ms),
    )
    path = tmp_path / "round_trip.jsonl"
    write_canonical(trace, path, overwrite=True)
    again = read_trace(path)
    assert list(again.requests()) == list(trace.requests())
    first = path.read_bytes()
    write_canonical(again, path, overwrite=True)
    assert path.read_bytes() == first


def test_what_a_line_looks_like(small: Trace, tmp_path: Path) -> None:
    write_canonical(small, tmp_path / "small.jsonl")
    assert (tmp_path / "small.jsonl").read_text().splitlines() == [
        '{"timestamp": 0, "input_length": 10, "output_length": 1}',
        '{"timestamp": 500, "input_length": 200, "output_length": 20, "slo_tbt_ms": 100}',
        '{"timestamp": 2000, "input_length": 3000, "output_length": 300}',
    ]


def test_time_counts_from_the_first_request_even_after_an_epoch(write: Write) -> None:
    start_ms = 1_700_000_000_000
    stamps = (start_ms + 0.25, start_ms + 0.25, start_ms + 1000.5)
    lines = [{"timestamp": at, "input_length": 5, "output_length": 6} for at in stamps]
    trace = read_trace(write("\n".join(map(json.dumps, lines))))
    assert trace.arrival.tolist() == [0.0, 0.0, 1.00025]
    assert trace.format == "canonical"


def test_blank_lines_and_windows_line_ends_do_no_harm(write: Write) -> None:
    line = b'{"timestamp": 7, "input_length": 5, "output_length": 6}\r\n'
    assert len(read_trace(write(b"\xef\xbb\xbf" + line + b"\r\n" + line + b"\n\n"))) == 2


def test_unknown_fields_and_hash_ids_are_told_in_one_notice_each(write: Write) -> None:
    line = (
        '{"timestamp": 0, "input_length": 5, "output_length": 6, "hash_ids": [1], "slo_tbt": 3}\n'
    )
    trace = read_trace(write(line * 3))
    assert len(trace.notices) == 2
    assert "hash_ids ignored; reuse of prefixes is not modelled" in trace.notices[0]
    assert "slo_tbt" in trace.notices[1]


def jsonl(stamps: list[int]) -> str:
    return "".join(
        f'{{"timestamp": {at}, "input_length": {place + 1}, "output_length": 1}}\n'
        for place, at in enumerate(stamps)
    )


def test_lines_out_of_order_are_sorted_with_a_notice(write: Write) -> None:
    trace = read_trace(write(jsonl([50, 10, 10, 60, 20])))
    assert trace.arrival.tolist() == [0.0, 0.0, 0.01, 0.04, 0.05]
    assert trace.prompt_tokens.tolist() == [2, 3, 5, 1, 4]
    assert trace.notices == ("some.trace: 3 out-of-order lines sorted by arrival",)


def test_a_line_may_be_ten_thousand_lines_late_and_no_more(write: Write) -> None:
    later = list(range(1, 10_001))
    assert read_trace(write(jsonl([*later, 0]))).prompt_tokens[0] == 10_001
    path = write(jsonl([*later, 10_001, 0]))
    with pytest.raises(TraceError, match=r"some\.trace:10002: arrives before more than 10,000 of"):
        read_trace(path)


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 8))
def test_the_window_against_a_plain_definition(stamps: list[int], window: int) -> None:
    """A line is too late exactly if more than `window` lines above it come after it in time."""
    rows = [TraceRow(place, float(at), 1, 1) for place, at in enumerate(stamps)]
    too_late = any(
        sum(above > at for above in stamps[:place]) > window for place, at in enumerate(stamps)
    )
    in_order = InOrder(iter(rows), Path("x"), window)
    if too_late:
        with pytest.raises(TraceError, match="arrives before"):
            list(in_order)
    else:
        assert list(in_order) == sorted(rows, key=lambda row: row.arrival)


def test_nothing_is_replaced_unasked_and_nothing_half_written(small: Trace, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text("precious")
    with pytest.raises(TraceError, match=r"exists; .*--force"):
        write_canonical(small, path)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(jsonl([1, 2]) + "{oops")
    with pytest.raises(TraceError, match=r"broken\.jsonl:3: not JSON"):
        convert(broken, path, overwrite=True)
    assert path.read_text() == "precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["broken.jsonl", "kept.jsonl"]


@pytest.mark.parametrize("place", ["", "missing/out.jsonl"])
def test_a_place_that_cannot_be_written(small: Trace, tmp_path: Path, place: str) -> None:
    with pytest.raises(TraceError, match=r"is a folder|cannot be written"):
        write_canonical(small, tmp_path / place)
    assert list(tmp_path.iterdir()) == []


def test_conversion_keeps_hash_ids_and_order(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_text(
        '{"timestamp": 9, "input_length": 5, "output_length": 6, "hash_ids": [1, 2]}\n'
        '{"timestamp": 8, "input_length": 7, "output_length": 6, "hash_ids": [], "slo_tbt_ms": 2}\n'
    )
    done = convert(source, out)
    assert done.requests == 2
    assert "hash_ids carried over" in done.notices[0]
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"timestamp": 0, "input_length": 7, "output_length": 6, "hash_ids": [], "slo_tbt_ms": 2},
        {"timestamp": 1, "input_length": 5, "output_length": 6, "hash_ids": [1, 2]},
    ]
