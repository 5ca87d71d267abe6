"""The fast reader of Azure's files against the plain one: the same to the bit, or it declines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitflow.errors import TraceError
from orbitflow.traces import azure_blocks, formats, read_trace
from orbitflow.traces.azure import HEADER
from orbitflow.traces.rows import REORDER_LINES, TraceFormat

Write = Callable[[str | bytes], Path]
FRACTION = st.text("0123456789", max_size=9).map(lambda digits: digits and f".{digits}")


@st.composite
def lines(draw: st.DrawFn, zone: str, least: int) -> list[str]:
    """Lines in order of time, now and then with a mistake."""
    made = []
    minute = draw(st.integers(0, 1400))
    for _ in range(draw(st.integers(1, 30))):
        minute += draw(st.sampled_from([0, 0, 0, 1, 7]))
        day, hour = 10 + minute // 1440, minute // 60 % 24
        second = f"{draw(st.integers(0, 59)):02}{draw(FRACTION)}"
        lengths = (draw(st.integers(least, 10**9 - 1) | st.integers(least, 30)) for _ in "ab")
        stamp = f"2024-05-{day} {hour:02}:{minute % 60:02}:{second}{zone}"
        made.append(",".join((stamp, *map(str, lengths))))
    return sorted(made) if draw(st.booleans()) else made


def outcome(path: Path, name: str, limit: int | None) -> object:
    try:
        trace = read_trace(path, name, limit=limit)
    except TraceError as error:
        return str(error)
    columns = (trace.arrival, trace.prompt_tokens, trace.output_tokens)
    return trace.notices, *(column.tobytes() for column in columns)


def plain(known: TraceFormat) -> TraceFormat:
    return replace(known, quick=None, name=f"plain-{known.name}")


@pytest.fixture(autouse=True)
def both_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_ones = (plain(known) for known in formats.FORMATS if known.quick)
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, *plain_ones))


@pytest.mark.parametrize(("name", "zone"), [("azure-2023", ""), ("azure-2024", "+00:00")])
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, write: Write, name: str, zone: str, data: st.DataObject
) -> None:
    block = data.draw(st.integers(60, 600), label="block")
    monkeypatch.setattr(azure_blocks, "BLOCK_BYTES", block)
    text = "\n".join([HEADER, *data.draw(lines(zone, 0 if zone else 1), label="lines")])
    if data.draw(st.booleans(), label="with a mistake"):
        place = data.draw(st.integers(0, len(text)), label="place")
        mark = data.draw(
            st.sampled_from(["", "0", "9", ",", ".", ":", "\n", "-", "+", "\r\n", "é"])
        )
        text = text[:place] + mark + text[place + data.draw(st.integers(0, 2)) :]
    newline = data.draw(st.sampled_from(["\n", "\n", "\r\n"]), label="newline")
    text = text.replace("\n", newline) + newline * data.draw(st.integers(0, 2))
    limit = data.draw(st.none() | st.integers(1, 30), label="limit")
    path = write(text)
    assert outcome(path, name, limit) == outcome(path, f"plain-{name}", limit)


@pytest.mark.parametrize("limit", [None, 1, 100, 2000, 5000])
@pytest.mark.parametrize("zeros_every", [0, 7])
def test_a_limit_counts_what_was_read(write: Write, limit: int | None, zeros_every: int) -> None:
    count = REORDER_LINES + 3000
    lengths = (int(zeros_every == 0 or i % zeros_every > 0) for i in range(count))
    rows = (
        f"2024-05-10 {i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}.5+00:00,{i + 1},{length}"
        for i, length in enumerate(lengths)
    )
    path = write("\n".join((HEADER, *rows)))
    assert azure_blocks.read_columns(path, limit, HEADER.encode(), b"+00:00", zeros=True)
    assert outcome(path, "azure-2024", limit) == outcome(path, "plain-azure-2024", limit)


def test_the_real_one(shared_traces: Path) -> None:
    path = shared_traces / "azure_conv_2023.csv"
    assert azure_blocks.read_columns(path, None, HEADER.encode(), b"", zeros=False)
    for limit in (None, 500):
        assert outcome(path, "azure-2023", limit) == outcome(path, "plain-azure-2023", limit)
