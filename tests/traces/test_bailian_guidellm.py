"""Files of Bailian and of guidellm are formats of their own, both in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitflow.errors import TraceError
from orbitflow.traces import read_trace
from orbitflow.traces.rows import ReadOptions
from orbitflow.traces.write import convert
from orbitflow.units import TimeUnit

Write = Callable[[str | bytes], Path]
START_S = 1_700_000_000.0


def bailian(*stamps: float) -> str:
    records = (
        {"chat_id": place, "parent_chat_id": -1, "timestamp": at, "input_length": 33,
         "output_length": 9, "type": "text", "turn": 1, "hash_ids": [place, 7, 8]}
        for place, at in enumerate(stamps)
    )  # fmt: skip
    return "".join(json.dumps(record) + "\n" for record in records)


def test_bailian_counts_seconds(write: Write, tmp_path: Path) -> None:
    path = write(bailian(0.0, 2.0, 61.114))
    trace = read_trace(path)
    assert trace.format == "bailian"
    assert trace.arrival.tolist() == [0.0, 2.0, 61.114]
    assert trace.notices == ("some.trace: hash_ids ignored; reuse of prefixes is not modelled",)
    out = tmp_path / "out.jsonl"
    convert(path, out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["timestamp"] for line in lines] == [0, 2000, 61_114]
    assert [line["hash_ids"][0] for line in lines] == [0, 1, 2]
    assert read_trace(out).arrival.tolist() == trace.arrival.tolist()


def test_many_requests_a_second_are_no_reason_to_doubt_bailian(write: Write) -> None:
    assert len(read_trace(write(bailian(0.0, 0.001, 0.002))).notices) == 1


def test_bailian_in_another_unit_is_honoured_and_said(write: Write) -> None:
    trace = read_trace(write(bailian(0, 2000)), options=ReadOptions(time_unit=TimeUnit.MS))
    assert trace.arrival.tolist() == [0.0, 2.0]
    assert "time stamps taken as ms, as asked; the format has s" in trace.notices[-1]


def test_bailian_errors_have_a_line(write: Write) -> None:
    text = bailian(0.0) + bailian(1.0).replace("33", "0")
    with pytest.raises(TraceError, match=r"some\.trace:2: input_length is 0"):
        read_trace(write(text))


def old(at_s: float, prompt: int | None, output: int | None) -> dict[str, Any]:
    return {"type_": "generative_text_response", "prompt": "a", "output": "b",
            "prompt_tokens": prompt, "output_tokens": output,
            "start_time": at_s, "end_time": at_s + 1}  # fmt: skip


def new(at_s: float | None, prompt: int, output: int) -> dict[str, Any]:
    timings = {"targeted_start": START_S, "resolve_start": START_S + 3, "request_start": at_s}
    return {"type_": "generative_request_stats", "info": {"timings": timings},
            "input_metrics": {"text_tokens": prompt, "total_tokens": prompt},
            "output_metrics": {"text_tokens": output}}  # fmt: skip


def benchmark(*answered: object, errored: int = 0, **more: object) -> dict[str, Any]:
    others = [old(START_S, 1, 1)] * errored
    requests = {"successful": list(answered), "incomplete": [], "errored": others}
    return {"type_": "generative_benchmark", **more, "requests": requests}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("make", [old, new])
def test_a_report_of_guidellm(write: Write, make: Callable[..., Any], indent: int | None) -> None:
    answered = (make(START_S + 2.5, 30, 7), make(START_S, 20, 5))
    report = {"args": {"target": "x"}, "benchmarks": [benchmark(*answered)]}
    trace = read_trace(write(json.dumps(report, indent=indent)))
    assert trace.format == "guidellm"
    assert trace.arrival.tolist() == [0.0, 2.5]
    assert trace.prompt_tokens.tolist() == [20, 30]
    assert trace.output_tokens.tolist() == [5, 7]
    assert trace.notices == ()


def test_one_benchmark_of_guidellm_alone(write: Write) -> None:
    trace = read_trace(write(json.dumps(benchmark(new(None, 20, 5), new(START_S + 4, 2, 3)))))
    assert trace.arrival.tolist() == [0.0, 1.0]


def test_what_a_report_leaves_out_is_said(write: Write) -> None:
    first = benchmark(old(START_S, 20, 5), old(START_S + 1, None, 5), errored=2,
                      total_count={"successful": 12})  # fmt: skip
    report = {"benchmarks": [first, benchmark(old(START_S + 60, 9, 9))]}
    trace = read_trace(write(json.dumps(report)))
    assert trace.arrival.tolist() == [0.0, 60.0]
    left_out, sample, several = trace.notices
    assert "2 without an answer and 1 without token counts" in left_out
    assert "a sample: 10 more requests were answered" in sample
    assert "2 benchmarks one after another, beginning at 0 s, 60 s" in several


@pytest.mark.parametrize(
    ("report", "what"),
    [
        ({"benchmarks": [{"metrics": {}}]}, ": benchmark 1: no list requests.successful"),
        ({"benchmarks": [7]}, ": benchmark 1: no list requests.successful"),
        ({"benchmarks": [benchmark(8)]}, ": benchmark 1, request 1: it is 8"),
        ({"benchmarks": [benchmark(old(-1, 2, 3))]}, ": benchmark 1, request 1: start_time is -1"),
        ({"benchmarks": [benchmark({"prompt_tokens": 2, "output_tokens": 3})]}, "start_time is No"),
        ({"benchmarks": [benchmark(old(1, 2, 10**10))]}, "output_tokens is 10000000000"),
        ({"benchmarks": []}, "no requests; expected at least one"),
    ],
)
def test_wrong_reports(write: Write, report: object, what: str) -> None:
    path = write(json.dumps(report))
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert what in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_report_cut_short(write: Write) -> None:
    text = json.dumps({"benchmarks": [benchmark(old(START_S, 2, 3))]}, indent=1)
    with pytest.raises(TraceError, match=r"some\.trace:\d+: not JSON"):
        read_trace(write(text[:-5]))
    with pytest.raises(TraceError, match="not JSON"):
        read_trace(write('{"benchmarks": [' + "[" * 100_000))
