"""Measurements and what they come to: repeats of a point become their middle and their spread.

    middle = mean of the middle half,   spread = median |repeat - middle| / middle

Single passes that something else slowed down, sometimes to twice their time, are left out so,
as by a median. But where a machine goes at two speeds by turns, as shared ones do, the middle is in
between like the time that a run takes, and not at one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Sample(NamedTuple):
    """One measurement of one point of a curve."""

    curve: str
    varied: tuple[float, ...]
    seconds: float


class Measured(NamedTuple):
    """A point: the middle of its repeats."""

    curve: str
    varied: tuple[float, ...]
    seconds: float
    relative_spread: float
    repeats: int


class Samples:
    """All measurements of a calibration, in the order in which they were made."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._samples = list(samples)

    def add(self, samples: Iterable[Sample]) -> None:
        """Take more of them."""
        self._samples += samples

    def points(self, *curves: str) -> tuple[Measured, ...]:
        """The points of these curves, all if none is named, sorted by curve and what was varied."""
        found: dict[tuple[str, tuple[float, ...]], list[float]] = {}
        for curve, varied, seconds in self._samples:
            if not curves or curve in curves:
                found.setdefault((curve, varied), []).append(seconds)
        return tuple(_measured(*key, repeats) for key, repeats in sorted(found.items()))


def _measured(curve: str, varied: tuple[float, ...], repeats: Sequence[float]) -> Measured:
    value = middle_mean(repeats)
    spread = float(np.median(np.abs(np.array(repeats) - value)))
    return Measured(curve, varied, value, spread / value if value else 0.0, len(repeats))


def middle_mean(values: Sequence[float]) -> float:
    """Mean of what is left without the largest and the smallest quarter, rounded up."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    cut = -(-len(ordered) // 4) if len(ordered) > 2 else 0
    return float(ordered[cut : len(ordered) - cut].mean())
