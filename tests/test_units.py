"""Units at the edge: what people write is read, what is shown can be read back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orbitflow.errors import UserError
from orbitflow.units import (
    GIB,
    format_bytes,
    format_count,
    format_seconds,
    parse_bytes,
    parse_moment,
    parse_rate,
    parse_seconds,
    parse_share,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("24GiB", 24 * 2**30),
        ("24 gib", 24 * 2**30),
        (" 24GB ", 24 * 10**9),
        ("1.5MiB", 3 * 2**19),
        ("24e9B", 24 * 10**9),
        ("2E3kB", 2_000_000),
        (".5TiB", 2**39),
        ("1tb", 10**12),
        ("+7B", 7),
        ("512 b", 512),
    ],
)
def test_amounts_of_memory(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("2s", 2.0),
        ("250us", 250e-6),
        ("1.5 min", 90.0),
        ("1H", 3600.0),
        ("1e-3s", 1e-3),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds, rel=1e-15)


BAD = ["", " ", "ms", "GiB", "abc", "nan", "inf", "-inf", "1,5", "1 2", "0x10", "1e", "--1", "5 %"]


@pytest.mark.parametrize("text", [*BAD, "5GiB", "5 lightyears", "0", "0ms", "-100ms"])
def test_no_duration(text: str) -> None:
    """The refusal quotes what was written and shows how to write it."""
    with pytest.raises(UserError) as refusal:
        parse_seconds(text)
    assert repr(text) in str(refusal.value)
    assert "100ms" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", [*BAD, "5ms", "5 parsecs", "0", "0GiB", "-1GiB"])
def test_no_amount_of_memory(text: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_bytes(text)
    assert repr(text) in str(refusal.value)
    assert "24GiB" in str(refusal.value)


@pytest.mark.parametrize("text", ["1e400", "1e308h", "9e307min"])
def test_a_duration_too_long_is_not_called_zero(text: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_seconds(text)
    assert "more than zero" not in str(refusal.value)


@pytest.mark.parametrize(
    ("parse", "text", "readings"),
    [
        (parse_seconds, "100", "100ms or 100s"),
        (parse_seconds, " 0.5 ", "0.5ms or 0.5s"),
        (parse_bytes, "24", "24GiB or 24GB"),
        (parse_bytes, "24e9", "24e9B or 24e9KiB"),
        (parse_rate, "0.4", "0.4GB/s or 0.4MB/s"),
        (parse_rate, "0.4/s", "0.4GB/s or 0.4MB/s"),
    ],
)
def test_a_number_without_a_unit_is_refused_with_its_likely_readings(
    parse: Callable[[str], float], text: str, readings: str
) -> None:
    with pytest.raises(UserError) as refusal:
        parse(text)
    assert str(refusal.value).endswith(f"has no unit: write {readings}")
    for reading in readings.split(" or "):
        assert parse(reading) > 0


@pytest.mark.parametrize(
    ("text", "rate"), [("7.6GB", 7.6e9), ("7.6GB/s", 7.6e9), ("1 MiB/s", 2**20)]
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("0s", 0.0), ("-0.0ms", 0.0), ("0.00 min", 0.0), ("2s", 2.0)]
)
def test_a_moment_may_be_zero(text: str, seconds: float) -> None:
    assert parse_moment(text) == seconds


@pytest.mark.parametrize("text", ["2", "-1s", "0 parsecs", "", "soon"])
def test_no_moment(text: str) -> None:
    with pytest.raises(UserError):
        parse_moment(text)


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), (" 2.5 % ", 0.025), ("0.02", 0.02)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "two", "2%%"])
def test_no_share(text: str) -> None:
    with pytest.raises(UserError, match=r"such as 2% or 0\.02"):
        parse_share(text)


def test_an_amount_below_one_byte_is_refused_where_it_is_read() -> None:
    with pytest.raises(UserError, match="1e-9"):
        parse_bytes("1e-9B")


@given(st.integers(1, 2**60))
def test_whole_bytes_are_exact(count: int) -> None:
    assert parse_bytes(f"{count % 2**50 + 1}B") == count % 2**50 + 1
    assert parse_bytes(f"{count % 2**20 + 1} MiB") == (count % 2**20 + 1) * 2**20


@given(st.floats(1e-6, 3.5e6))
@example(0.99996)
@example(0.00099996)
@example(59.97)
@example(119.97)
@example(3599.99)
def test_shown_durations_read_back_and_are_plain(seconds: float) -> None:
    """Three significant digits: off by half of the third at most; never 1e+03 of a unit."""
    shown = format_seconds(seconds)
    assert "e" not in shown
    assert parse_seconds(shown.replace("µ", "u")) == pytest.approx(seconds, rel=0.0051)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0495, "49.5 ms"),
        (0.1, "100 ms"),
        (1.0, "1 s"),
        (90.0, "90 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (3600.0, "1 h"),
        (17510.0, "4.86 h"),
        (5e-6, "5 µs"),
        (0.0, "0 s"),
    ],
)
def test_durations_for_people(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


@given(st.integers(0, 2**49))
@example(2**20 - 1)
@example(2**30 - 1)
def test_shown_amounts_read_back(count: int) -> None:
    """One decimal of a number from 1 up, so off by 5 % at most; the next unit starts at 1024."""
    shown = format_bytes(count)
    assert float(shown.split()[0]) < 1024
    if count:
        assert parse_bytes(shown) == pytest.approx(count, rel=0.05)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (24 * GIB, "24.0 GiB"), (2**41, "2.0 TiB")],
)
def test_amounts_for_people(count: int, shown: str) -> None:
    assert format_bytes(count) == shown


def test_counts_for_people() -> None:
    assert [format_count(n) for n in (0, 999, 1000, 4_088_665, 1.6)] == [
        "0",
        "999",
        "1,000",
        "4,088,665",
        "2",
    ]
