"""Azure 2024: stamps in UTC, with or without a fraction; lines without tokens are counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orbitflow.traces import read_trace
from orbitflow.traces.formats import find_format

Write = Callable[[str | bytes], Path]
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def test_stamps_over_midnight_to_a_microsecond(write: Write) -> None:
    path = write(
        HEADER + "2024-05-10 23:59:59.999999+00:00,2162,5\n"
        "2024-05-11 00:00:00+00:00,10,1\n"
        "2024-05-11 00:01:00.5+00:00,11,2\n"
    )
    trace = read_trace(path)
    assert trace.format == "azure-2024"
    assert trace.arrival.tolist() == [0.0, 1e-6, 60.500001]
    assert trace.prompt_tokens.tolist() == [2162, 10, 11]
    assert trace.output_tokens.tolist() == [5, 1, 2]
    assert trace.notices == ()


def test_the_stamp_tells_the_years_apart(write: Write) -> None:
    stamp = "2024-05-10 00:00:00.009930"
    assert find_format(write(f"{HEADER}{stamp},1,1")).name == "azure-2023"
    assert find_format(write(f"{HEADER}{stamp}+00:00,1,1")).name == "azure-2024"
    crlf = f"\ufeff{HEADER}{stamp}+00:00,1,1\n".replace("\n", "\r\n")
    assert find_format(write(crlf)).name == "azure-2024"
    assert len(read_trace(write(crlf))) == 1


def test_lines_without_tokens_are_left_out_and_counted(write: Write) -> None:
    stamp = "2024-05-10 00:00:00+00:00"
    path = write(HEADER + f"{stamp},5,0\n{stamp},7,1\n{stamp},0,4\n")
    trace = read_trace(path)
    assert trace.prompt_tokens.tolist() == [7]
    assert trace.notices == ("some.trace: 2 lines with a length of 0 left out",)
