"""The unit of a time stamp is stated by the format, asked for, or guessed and said."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.errors import TraceError, UserError
from orbitflow.traces import Trace, read_trace, resolve
from orbitflow.traces.fields import FieldError
from orbitflow.traces.rows import ReadOptions
from orbitflow.traces.stamps import IN_A_SECOND, StampClock, epoch_unit, read_date
from orbitflow.traces.write import convert
from orbitflow.units import TimeUnit

Write = Callable[[str | bytes], Path]
EPOCH_S = 1_700_000_000


def jsonl(*stamps: object) -> str:
    return "".join(
        json.dumps({"timestamp": at, "input_length": 5, "output_length": 6}) + "\n" for at in stamps
    )


def read(path: Path, unit: TimeUnit | None = None) -> Trace:
    return read_trace(path, options=ReadOptions(time_unit=unit))


@pytest.mark.parametrize(
    ("unit", "arrival"), [(None, 0.2), ("s", 200.0), ("ms", 0.2), ("us", 2e-4), ("ns", 2e-7)]
)
def test_a_person_may_say_the_unit(write: Write, unit: str | None, arrival: float) -> None:
    trace = read(write(jsonl(0, 200)), None if unit is None else TimeUnit(unit))
    assert trace.arrival.tolist() == [0.0, arrival]
    said = [notice for notice in trace.notices if "as asked" in notice]
    assert len(said) == (unit not in (None, "ms"))


@pytest.mark.parametrize("unit", TimeUnit)
def test_epochs_are_known_by_their_size(write: Write, unit: TimeUnit) -> None:
    count = IN_A_SECOND[unit]
    path = write(jsonl(EPOCH_S * count, (EPOCH_S + 2) * count))
    trace = read(path)
    assert trace.arrival.tolist() == [0.0, 2.0]
    guessed = f"some.trace: time stamps taken as {unit} since 1970, not the format's ms: guessed"
    assert [n.startswith(guessed) for n in trace.notices] == [True] * (unit != "ms")
    assert read(path, unit).arrival.tolist() == [0.0, 2.0]


def test_a_relative_stamp_is_no_epoch() -> None:
    assert epoch_unit(0) is None
    assert epoch_unit(86_400_000) is None
    assert epoch_unit(7.2e9) is None


def test_an_epoch_in_another_unit_than_asked(write: Write) -> None:
    path = write(jsonl(EPOCH_S * 1000, EPOCH_S * 1000 + 1))
    with pytest.raises(TraceError, match=r":1: timestamp is 17.*, an epoch in ms; .*-unit ms"):
        read(path, TimeUnit.S)
    trace = read(write(jsonl(EPOCH_S, EPOCH_S + 500)), TimeUnit.MS)
    assert trace.arrival.tolist() == [0.0, 0.5]
    assert "as asked; they look like an epoch in s" in trace.notices[0]


@pytest.mark.parametrize("stamps", [(0, EPOCH_S * 1000), (EPOCH_S * 1000, 0), (EPOCH_S, 5)])
def test_absolute_and_relative_stamps_do_not_mix(write: Write, stamps: tuple[int, int]) -> None:
    with pytest.raises(TraceError, match=r":2: timestamp is .* over 31 years from the first one"):
        read(write(jsonl(*stamps)))


@pytest.mark.parametrize(
    ("stamps", "said"),
    [
        ((0, 0.2, 0.4), "time stamps taken as ms: 5,000 requests/s; if that is wrong, say --time-"),
        ((0, 2_000_000, 4_000_000), "time stamps taken as ms: a request every 33.3 min; if that"),
    ],
)
def test_a_rate_that_another_unit_would_explain_is_said(
    write: Write, tmp_path: Path, stamps: tuple[float, ...], said: str
) -> None:
    path = write(jsonl(*stamps))
    assert said in read(path).notices[0]
    assert said in convert(path, tmp_path / "out").notices[0]
    assert said not in " ".join(read(path, TimeUnit.MS).notices)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,3,4\n", "s"),
        ('{"requests": {"r": {"input_length": 5, "output_length": 6, "arrival_time": 0}}}', "ms"),
        ('[{"conversations": []}]', "us"),
    ],
)
def test_a_unit_for_what_has_none_is_refused(write: Write, text: str, unit: str) -> None:
    with pytest.raises(UserError, match=f"--time-unit {unit}: .* has no numbers as time stamps"):
        read(write(text), TimeUnit(unit))


@pytest.mark.parametrize("name", ["demo", "paper", "azure_conv", "azure_conv.csv"])
def test_a_name_has_its_unit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBITFLOW_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=f"--time-unit s: leave it out, {name} is no file"):
        resolve(name, options=ReadOptions(time_unit=TimeUnit.S))


def test_dates_in_json_lines(write: Write) -> None:
    path = write(jsonl("2024-05-10T00:00:00Z", "2024-05-10T02:00:01.25+02:00"))
    assert read(path).arrival.tolist() == [0.0, 1.25]
    with pytest.raises(TraceError, match=r":1: timestamp is .*, a date; .*leave it out"):
        read(path, TimeUnit.S)
    with pytest.raises(TraceError, match=r":2: timestamp is '2024.* with no zone, the first one"):
        read(write(jsonl("2024-05-10T00:00:00Z", "2024-05-10T00:00:00")))
    with pytest.raises(TraceError, match=r":2: timestamp is 5; expected a date"):
        read(write(jsonl("2024-05-10T00:00:00Z", 5)))
    with pytest.raises(TraceError, match=r":2: timestamp is '2024-05-10T00:00:00Z'; expected a n"):
        read(write(jsonl(5, "2024-05-10T00:00:00Z")))
    with pytest.raises(TraceError, match=r":1: '2024-02-30T00:00:00Z' is in no calendar"):
        read(write(jsonl("2024-02-30T00:00:00Z")))


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["", "Z", "z", "UTC", "+00:00", "+0000", "-00", "+02:00", "-0930"]),
    st.sampled_from(["T", "t", " "]),
    st.text("0123456789", max_size=14),
)
def test_dates_against_the_standard_library(
    at: datetime, zone: str, between: str, digits: str
) -> None:
    at = at.replace(microsecond=0)
    point = f".{digits}" if digits else ""
    moment = read_date(f"{at:%Y-%m-%d}{between}{at:%H:%M:%S}{point}{zone}")
    assert moment is not None
    offset_s = {"+02:00": 7200, "-0930": -34_200}.get(zone, 0)
    whole, rest = divmod(moment.at_ns, 10**9)
    assert whole == round(at.replace(tzinfo=UTC).timestamp()) - offset_s
    assert rest == int((digits + "0" * 9)[:9])
    assert moment.has_zone == bool(zone)


@pytest.mark.parametrize("text", ["", "2024", "2024-05-10", "10:00", "2024-05-10 29:00:00 am"])
def test_what_is_no_date(text: str) -> None:
    assert read_date(text) is None


@pytest.mark.parametrize("stamp", [True, None, [], float("nan"), float("inf"), -1, 10**30, 10**400])
def test_what_is_no_stamp(stamp: object) -> None:
    for clock in (StampClock(TimeUnit.MS), StampClock(None), StampClock(TimeUnit.S, TimeUnit.US)):
        with pytest.raises(FieldError, match="at is "):
            clock.seconds({"at": stamp}, "at")
        assert clock.seconds({"at": 7}, "at") == 0
        with pytest.raises(FieldError, match="at is "):
            clock.seconds({"at": stamp}, "at")


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2023-11-16T18:15:46.25Z", "2023-11-16T18:15:48.5Z"),
        ('"2023-11-16 18:15:46.2500000"', '"2023-11-16 18:15:48.5000000"'),
        ("2023-11-16 18:15:46.250000000001", "2023-11-16 18:15:48.500000000009"),
        ("2023-11-16T19:15:46.25+01:00", "2023-11-16T13:15:48,5-05:00".replace(",", ".")),
        ("2023-11-16 18:15:46.25 UTC", "2023-11-16 18:15:48.5 UTC"),
    ],
)
@pytest.mark.parametrize("header", [AZURE, '"TIMESTAMP","ContextTokens","GeneratedTokens"'])
def test_azure_written_anew(write: Write, header: str, first: str, second: str) -> None:
    trace = read_trace(write(f'{header}\n{first},374,44\n{second},"396",109\n{second},5,0\n'))
    assert trace.format == "azure-2023"
    assert trace.arrival.tolist() == [0.0, 2.25]
    assert trace.prompt_tokens.tolist() == [374, 396]
    assert trace.notices == ("some.trace: 1 lines with a length of 0 left out",)


def test_only_lengths_quoted(write: Write) -> None:
    trace = read_trace(write(f'{AZURE}\n2023-11-16 18:15:46.25,"374","44"\n'))
    assert trace.output_tokens.tolist() == [44]


def test_burstgpt_with_epochs(write: Write) -> None:
    header = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    rows = (f"{EPOCH_S * 1000 + at},ChatGPT,472,18,490,log\n" for at in (0, 2500))
    trace = read_trace(write(header + "".join(rows)))
    assert trace.arrival.tolist() == [0.0, 2.5]
    assert "taken as ms since 1970, not the format's s" in trace.notices[0]
