"""Summaries against scipy and against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orbitflow.traces import Trace, scaled
from orbitflow.traces.summary import autocorrelation, burstiness, ranks, spearman, summarize


def test_a_small_trace(small: Trace) -> None:
    summary = summarize(small)
    assert (summary.requests, summary.span, summary.rate) == (3, 2.0, 1.0)
    assert summary.gap_cv == pytest.approx(0.5)  # gaps 0.5 and 1.5: mean 1, deviation 0.5
    assert summary.prompt_tokens.total == 3210
    assert (summary.prompt_tokens.p50, summary.prompt_tokens.max) == (200, 3000)
    assert summary.spearman == pytest.approx(1)
    assert summary.burstiness is None


def test_one_request_and_simultaneous_ones_have_no_rate(small: Trace) -> None:
    for trace in (scaled(small, num_requests=1), replace(small, arrival=np.zeros(3))):
        summary = summarize(trace)
        assert summary.rate is None
        assert summary.gap_cv is None


def test_windows_by_hand() -> None:
    """Counts 2, 0, 4, 2 in four whole windows: mean 2, variance 2; the rest is not counted."""
    arrival = np.array([0, 1, 20, 21, 22, 29.9, 30, 31, 40, 44.0])
    bursts = burstiness(arrival)
    assert bursts is not None
    assert bursts.cv == pytest.approx(np.sqrt(2) / 2)
    assert bursts.lag1_autocorrelation == pytest.approx(-4 / 8)


def test_too_short_or_absurdly_long_for_windows() -> None:
    assert burstiness(np.array([0.0, 29.0])) is None
    assert burstiness(np.array([0.0, 1e11])) is None


def test_constant_columns_have_no_correlation() -> None:
    assert autocorrelation(np.ones(5), 1) is None
    assert spearman(np.array([3, 3]), np.array([1, 2])) is None


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=3, max_size=50))
def test_ranks_and_spearman_as_scipy_has_them(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    np.testing.assert_allclose(ranks(first), stats.rankdata(first))
    mine = spearman(first, second)
    if mine is None:
        assert first.min() == first.max() or second.min() == second.max()
    else:
        assert mine == pytest.approx(stats.spearmanr(first, second).statistic)


def test_steps_have_no_windows_of_seconds(small: Trace) -> None:
    summary = summarize(replace(small, arrival_unit="steps", arrival=np.array([0.0, 1e4, 2e4])))
    assert summary.arrival_unit == "steps"
    assert summary.burstiness is None
