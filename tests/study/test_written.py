"""Figures and keys for people: an interval has the unit of its mean."""

from __future__ import annotations

import pytest

from orbitflow.study.keys import key_text
from orbitflow.study.statistics import Estimate, number, percent, seconds


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.12, 0.0034, "120 ± 3 ms"),
        (90.0, 2.0, "90 ± 2 s"),
        (150.0, 12.0, "2.5 ± 0.2 min"),
        (7200.0, None, "2 h"),
        (0.0, 0.0, "0 ± 0 s"),
        (3e-6, 0.04, "3 ± 40000 µs"),
    ],
)
def test_an_interval_is_in_the_unit_of_its_mean(mean: float, half: float | None, text: str) -> None:
    assert seconds(Estimate(mean, half)) == text


def test_shares_and_numbers() -> None:
    assert percent(Estimate(1.0, 0.0)) == "100.0 ± 0.0"
    assert percent(Estimate(0.123, None)) == "12.3"
    assert number(Estimate(1234.5, 67.0), ".4g") == "1234 ± 70"


def test_whole_numbers_lose_no_digit() -> None:
    assert key_text("kv_capacity_tokens", 1_234_567) == "1,234,567"
    assert key_text("seed", 1_234_567) == "1234567"
    assert key_text("victim", None) == "None"
