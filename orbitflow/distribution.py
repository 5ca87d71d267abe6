"""Mean, percentiles and maximum of many values in bounded memory.

Exact (numpy's linear interpolation) up to `EXACT_VALUES`; beyond, a histogram with bins 0.1 % wide
in which each value counts as its bin's geometric middle, so that no percentile is off by more than
0.05 %. Mean and maximum stay exact up to rounding.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray

EXACT_VALUES = 1 << 19
_GROWTH = np.log(1.001)
_SMALLEST = 1e-9  # anything below counts as 0
_BINS = int(np.log(1e12 / _SMALLEST) / _GROWTH) + 2


class Quantiles(NamedTuple):
    """What a table shows; all None where there was no value."""

    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class Distribution:
    """Collects non-negative values."""

    __slots__ = ("_bins", "_buffer", "_count", "_largest", "_total")

    def __init__(self) -> None:
        self._buffer = array("d")
        self._bins: npt.NDArray[np.int64] | None = None
        self._count = 0
        self._total = 0.0
        self._largest = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._buffer.append(value)
        if len(self._buffer) >= EXACT_VALUES:
            self._fold()

    def extend(self, values: FloatArray) -> None:
        """Count an array of values."""
        self._buffer.frombytes(np.asarray(values, dtype=np.float64).tobytes())
        if len(self._buffer) >= EXACT_VALUES:
            self._fold()

    def quantiles(self) -> Quantiles:
        """Summarise what was collected."""
        if self._bins is not None:
            self._fold()
            p50, p95, p99 = (self._from_bins(self._bins, q) for q in (0.5, 0.95, 0.99))
            return Quantiles(self._total / self._count, p50, p95, p99, self._largest)
        values = np.frombuffer(self._buffer) if self._buffer else np.empty(0)
        if not len(values):
            return Quantiles(None, None, None, None, None)
        p50, p95, p99 = (float(q) for q in np.percentile(values, (50, 95, 99)))
        return Quantiles(float(values.mean()), p50, p95, p99, float(values.max()))

    def at(self, shares: FloatArray) -> FloatArray:
        """The values below which these shares of all lie, as `quantiles` has them; empty if there
        are none.
        """
        if self._bins is not None:
            self._fold()
            return np.array([self._from_bins(self._bins, float(q)) for q in shares])
        if not self._buffer:
            return np.empty(0)
        found: FloatArray = np.quantile(np.frombuffer(self._buffer), shares)
        return found

    def _fold(self) -> None:
        if not self._buffer:
            return
        values = np.frombuffer(self._buffer)
        if self._bins is None:
            self._bins = np.zeros(_BINS, dtype=np.int64)
        self._count += len(values)
        self._total += float(values.sum())
        self._largest = max(self._largest, float(values.max()))
        where = np.log(np.maximum(values, _SMALLEST) / _SMALLEST) / _GROWTH
        index = np.where(values < _SMALLEST, 0, 1 + where.astype(np.int64))
        self._bins += np.bincount(np.minimum(index, _BINS - 1), minlength=_BINS)
        self._buffer = array("d")

    def _from_bins(self, bins: npt.NDArray[np.int64], q: float) -> float:
        index = int(np.searchsorted(np.cumsum(bins), q * (self._count - 1), side="right"))
        if index == 0:
            return 0.0
        return min(self._largest, _SMALLEST * float(np.exp((index - 0.5) * _GROWTH)))
