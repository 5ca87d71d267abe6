"""A CSV whose columns a person names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orbitflow.errors import TraceError, UserError
from orbitflow.traces import Trace, read_options, read_trace
from orbitflow.traces.csv_columns import read_column_names, unit_of_name
from orbitflow.traces.write import convert
from orbitflow.units import TimeUnit

Write = Callable[[str | bytes], Path]
NAMES = "time=at,prompt=tokens in,output=out"


def read(path: Path, columns: str = NAMES, unit: str | None = None, format: str = "auto") -> Trace:
    return read_trace(path, format, options=read_options(unit, columns))


def figures(trace: Trace) -> list[tuple[float, int, int]]:
    columns = (trace.arrival, trace.prompt_tokens, trace.output_tokens)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_columns_in_any_order_and_quoted(write: Write, mark: str) -> None:
    rows = (("out", "id", "tokens in", "at"), ("5", "x,y;\tz", "10", "7.5"), ("6", "", "12.0", "9"))
    text = "\r\n".join(mark.join(f'"{field}"' for field in row) for row in rows)
    trace = read(write("\ufeff" + text))
    assert trace.format == "csv"
    assert figures(trace) == [(0.0, 10, 5), (1.5, 12, 6)]
    assert trace.notices == (
        "some.trace: time stamps taken as s: guessed; --time-unit says otherwise",
    )


def test_text_over_several_lines_does_no_harm(write: Write) -> None:
    text = 'at,tokens in,out,text\n1,10,5,"a\nb\n\nc"\n2,x,5,""\n'
    with pytest.raises(TraceError, match=r"some\.trace:6: tokens in is 'x'; expected a whole"):
        read(write(text))


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("start_ms", "ms"), ("Time (s)", "s"), ("t[us]", "us"), ("at_ns", "ns"), ("at", None),
        ("seconds", "s"), ("arrival_seconds", "s"), ("items", None), ("ms", None),
        ("time-ms", "ms"),
    ],
)  # fmt: skip
def test_a_name_may_end_in_its_unit(name: str, unit: str | None) -> None:
    assert unit_of_name(name) == unit


def test_units_of_columns(write: Write) -> None:
    path = write("at_ms,tokens in,out\n0,1,1\n500,1,1\n")
    trace = read(path, NAMES.replace("at", "at_ms", 1))
    assert (trace.arrival.tolist(), trace.notices) == ([0.0, 0.5], ())
    path = write("at,tokens in,out\n0,1,1\n500,1,1\n")
    assert read(path, unit="us").arrival.tolist() == [0.0, 5e-4]
    path = write("at,tokens in,out\n1700000000000,1,1\n1700000000500,1,1\n")
    trace = read(path)
    assert trace.arrival.tolist() == [0.0, 0.5]
    assert "taken as ms since 1970: guessed by their size" in trace.notices[0]
    path = write("at,tokens in,out\n2024-05-10T00:00:00.5Z,1,1\n2024-05-10T00:00:01Z,1,1\n")
    assert (read(path).arrival.tolist(), read(path).notices) == ([0.0, 0.5], ())


def test_requests_that_failed_are_counted(write: Write) -> None:
    trace = read(write("at,tokens in,out\n0,1,0\n1,5,6\n3,0,0.0\n4,5,6\n"))
    assert figures(trace) == [(0.0, 5, 6), (3.0, 5, 6)]
    assert "some.trace: 2 lines with a length of 0 left out" in trace.notices


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("at,in,out\n", ":1: no column 'tokens in'; the header has 'at, in, out'"),
        ("at,tokens in,out,at\n", ":1: more than one column 'at'; the header has"),
        ("at,tokens in,out\n1,2\n", ":2: 2 fields: '1,2'; expected 3, as in the header"),
        ("at,tokens in,out\n1,2.5,3\n", ":2: tokens in is '2.5'; expected a whole number"),
        ("at,tokens in,out\n1,2,\n", ":2: out is ''; expected a whole number"),
        ("at,tokens in,out\nsoon,2,3\n", ":2: at is 'soon'; expected a number from 0"),
        ("at,tokens in,out\n-1,2,3\n", ":2: at is '-1'; expected a number from 0"),
        ('at,tokens in,out\n1,2,3\n1,2,"3\n', ":3: not CSV (unexpected end of data)"),
        ("at,tokens in,out\n", ": no requests; expected at least one"),
        (b"at,tokens in,out\n1,2,3\n\xff,2,3\n", ":3: byte 0xff is not UTF-8"),
    ],
)
def test_wrong_files(write: Write, text: str | bytes, what: str) -> None:
    path = write(text)
    with pytest.raises(TraceError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{what}")


def test_the_id_names_a_wrong_request(write: Write) -> None:
    path = write("id,at,tokens in,out\nr-7,1,x,5\n")
    with pytest.raises(TraceError, match=r":2: request 'r-7': tokens in is 'x'"):
        read(path, NAMES + ",id=id")
    with pytest.raises(TraceError, match=r":1: no column 'key'"):
        read(path, NAMES + ",id=key")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "write time="), ("time", "'time': write time="), ("time=", "'time=': write"),
        ("time=a,prompt=b", "lacks output"), ("time=a,time=b", "'time=b'"),
        ("when=a,prompt=b,output=c", "'when=a'"),
    ],
)  # fmt: skip
def test_wrong_mappings(text: str, what: str) -> None:
    with pytest.raises(UserError, match=f"--columns:? .*{what}"):
        read_column_names(text)


def test_what_does_not_go_together(write: Write, tmp_path: Path) -> None:
    path = write("at,tokens in,out\n1,2,3\n")
    with pytest.raises(UserError, match="--columns with --format azure-2023"):
        read(path, format="azure-2023")
    with pytest.raises(UserError, match="csv needs the names of its columns: --columns time="):
        read_trace(path, "csv")
    with pytest.raises(TraceError, match=r"not a known trace format .* name a CSV's --columns"):
        read_trace(path)
    with pytest.raises(UserError, match="--time-unit min: write s, ms, us, ns"):
        read_options("min", None)
    names = read_column_names(NAMES)
    assert convert(path, tmp_path / "out", columns=names, time_unit=TimeUnit.S).requests == 1
