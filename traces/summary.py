"""What a trace looks like in numbers: lengths, rate, burstiness, dependence of input and output.

Burstiness is seen in whole windows of ten seconds: the coefficient of variation of their counts,
and the correlation of each count with the next (independent gaps have almost none).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.traces.trace import ArrivalUnit, Trace

WINDOW_S = 10.0
_MOST_WINDOWS = 10_000_000


@dataclass(frozen=True, slots=True)
class LengthSummary:
    """The distribution of one length, in tokens."""

    total: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: int


@dataclass(frozen=True, slots=True)
class Burstiness:
    """Arrivals counted in windows."""

    window_s: float
    cv: float
    lag1_autocorrelation: float | None


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """A trace in numbers; None where a number has no meaning, as for a single request."""

    requests: int
    arrival_unit: ArrivalUnit
    span: float
    rate: float | None
    gap_cv: float | None
    burstiness: Burstiness | None
    prompt_tokens: LengthSummary
    output_tokens: LengthSummary
    spearman: float | None


def summarize(trace: Trace) -> TraceSummary:
    """Summarize a trace. `span` and `rate` are in the trace's own unit of time."""
    gaps = np.diff(trace.arrival)
    span = float(trace.arrival[-1])
    return TraceSummary(
        requests=len(trace),
        arrival_unit=trace.arrival_unit,
        span=span,
        rate=len(gaps) / span if span else None,
        gap_cv=float(gaps.std() / gaps.mean()) if span else None,
        burstiness=burstiness(trace.arrival) if trace.arrival_unit == "s" else None,
        prompt_tokens=_lengths(trace.prompt_tokens),
        output_tokens=_lengths(trace.output_tokens),
        spearman=spearman(trace.prompt_tokens, trace.output_tokens),
    )


def burstiness(arrival: FloatArray, window_s: float = WINDOW_S) -> Burstiness | None:
    """Count arrivals in whole windows; None for a trace of fewer than three of them."""
    windows = int(arrival[-1] // window_s)
    if not 3 <= windows <= _MOST_WINDOWS:
        return None
    inside = arrival[arrival < windows * window_s]
    counts = np.bincount((inside // window_s).astype(np.int64), minlength=windows)
    return Burstiness(window_s, float(counts.std() / counts.mean()), autocorrelation(counts, 1))


def autocorrelation(values: FloatArray | IntArray, lag: int) -> float | None:
    """Correlate a series with itself `lag` places later; None for a constant one."""
    centred = values - values.mean()
    power = float(centred @ centred)
    return float(centred[:-lag] @ centred[lag:]) / power if power else None


def spearman(first: IntArray, second: IntArray) -> float | None:
    """Correlate ranks, ties sharing their mean rank; None if a column is constant."""
    x, y = ranks(first), ranks(second)
    x, y = x - x.mean(), y - y.mean()
    power = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / power if power else None


def ranks(values: IntArray) -> FloatArray:
    """Rank from 1, ties sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank: FloatArray = np.cumsum(counts) - (counts - 1) / 2
    return mean_rank[place]


def _lengths(tokens: IntArray) -> LengthSummary:
    p50, p90, p99 = np.percentile(tokens, (50, 90, 99)).tolist()
    return LengthSummary(
        total=int(tokens.sum()),
        mean=float(tokens.mean()),
        p50=p50,
        p90=p90,
        p99=p99,
        max=int(tokens.max()),
    )
