"""BurstGPT: both sets of columns, seconds, failures left out and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orbitflow.traces import read_trace
from orbitflow.traces.write import convert

Write = Callable[[str | bytes], Path]
FIRST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
LATER = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
)


@pytest.mark.parametrize(
    ("header", "before"), [(FIRST, "ChatGPT"), (LATER, "17,2.5,GPT-4"), (LATER, ",,GPT-4")]
)
def test_columns_are_found_by_name(write: Write, header: str, before: str) -> None:
    rows = [(5, 472, 18), (45.25, 1087, 230), (45.25, 417, 276)]
    lines = [f"{at},{before},{prompt},{out},9,API log" for at, prompt, out in rows]
    trace = read_trace(write("\n".join([header, *lines])))
    assert trace.format == "burstgpt"
    assert trace.arrival.tolist() == [0.0, 40.25, 40.25]
    assert trace.prompt_tokens.tolist() == [472, 1087, 417]
    assert trace.output_tokens.tolist() == [18, 230, 276]
    assert trace.notices == ()


def test_failures_are_left_out_with_one_notice(write: Write, tmp_path: Path) -> None:
    lines = ["5,m,9,0,9,log", "6,m,9,4,13,log", "7,m,8,0,8,log", "8,m,0,3,3,log", "9,m,0,0,0,log"]
    path = write("\r\n".join([FIRST, *lines, ""]))
    trace = read_trace(path)
    assert len(trace) == 1
    notice = (
        "some.trace: requests left out: "
        "3 without response tokens (failures) and 1 without request tokens"
    )
    assert trace.notices == (notice,)
    assert convert(path, tmp_path / "out.jsonl").notices == (notice,)
