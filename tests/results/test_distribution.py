"""Percentiles: exact while few, within 0.1 % of numpy's when many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.arrays import FloatArray
from orbitflow.results.distribution import EXACT_VALUES, Distribution, Quantiles

MANY = 1_000_000
Draw = Callable[[np.random.Generator], FloatArray]

SHAPES: dict[str, Draw] = {
    "uniform": lambda rng: rng.uniform(0.0, 3.0, MANY),
    "log-normal": lambda rng: rng.lognormal(-3.0, 1.5, MANY),
    "exponential": lambda rng: rng.exponential(0.05, MANY),
    "constant": lambda rng: np.full(MANY, 0.0495),
    "narrow": lambda rng: rng.normal(0.05, 1e-5, MANY),
    "heavy tail": lambda rng: rng.pareto(1.2, MANY),
    "huge": lambda rng: rng.uniform(1e8, 1e9, MANY),
    "microseconds": lambda rng: rng.uniform(1e-6, 5e-6, MANY),
    "a third zeros": lambda rng: rng.permutation(
        np.concatenate([np.zeros(MANY // 3), rng.exponential(1.0, MANY - MANY // 3)])
    ),
    "mostly zeros": lambda rng: rng.permutation(
        np.concatenate([np.zeros(MANY - MANY // 4), rng.uniform(1.0, 2.0, MANY // 4)])
    ),
    "all zeros": lambda rng: np.zeros(MANY),
}


def check(found: Quantiles, values: FloatArray, rel: float) -> None:
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    assert found.mean == pytest.approx(float(values.mean()), rel=1e-12)
    assert found.max == float(values.max())
    assert found.p50 == pytest.approx(p50, rel=rel)
    assert found.p95 == pytest.approx(p95, rel=rel)
    assert found.p99 == pytest.approx(p99, rel=rel)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_million_values_within_a_thousandth(shape: str) -> None:
    values = SHAPES[shape](np.random.Generator(np.random.PCG64(7)))
    distribution = Distribution()
    for part in np.array_split(values, 13):
        distribution.extend(part)
    check(distribution.quantiles(), values, rel=1e-3)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50), st.integers(0, 50))
def test_few_values_are_exact(values: list[float], single: int) -> None:
    """However they came: one by one, or as an array."""
    distribution = Distribution()
    for value in values[:single]:
        distribution.add(value)
    distribution.extend(np.array(values[single:]))
    check(distribution.quantiles(), np.array(values), rel=1e-14)


@pytest.mark.parametrize("count", [1, 1000, EXACT_VALUES + 1000])
def test_values_at_shares(count: int) -> None:
    values = np.random.Generator(np.random.PCG64(5)).lognormal(0.0, 1.0, count)
    distribution = Distribution()
    distribution.extend(values)
    shares = np.array([0.0, 0.1, 0.5, 0.9, 0.99, 1.0])
    rel = 1e-12 if count < EXACT_VALUES else 1e-3
    assert distribution.at(shares).tolist() == pytest.approx(
        np.quantile(values, shares).tolist(), rel=rel
    )


def test_nothing_has_no_values_at_shares() -> None:
    assert len(Distribution().at(np.array([0.5]))) == 0


def test_at_the_limit() -> None:
    values = np.random.Generator(np.random.PCG64(3)).exponential(1.0, EXACT_VALUES + 1)
    distribution = Distribution()
    distribution.extend(values[: EXACT_VALUES - 1])
    check(distribution.quantiles(), values[: EXACT_VALUES - 1], rel=1e-14)
    for value in values[EXACT_VALUES - 1 :].tolist():
        distribution.add(value)
    check(distribution.quantiles(), values, rel=1e-3)


def test_asking_changes_nothing() -> None:
    distribution = Distribution()
    distribution.extend(np.arange(EXACT_VALUES + 10.0))
    before = distribution.quantiles()
    assert distribution.quantiles() == before
    distribution.add(1e7)
    assert distribution.quantiles().max == 1e7


def test_nothing_collected() -> None:
    assert Distribution().quantiles() == (None, None, None, None, None)
    distribution = Distribution()
    distribution.extend(np.empty(0))
    assert distribution.quantiles() == (None, None, None, None, None)


def test_strided_arrays_are_read_right() -> None:
    distribution = Distribution()
    distribution.extend(np.arange(10.0)[::2])
    assert distribution.quantiles() == pytest.approx((4, 4, 7.6, 7.92, 8))
