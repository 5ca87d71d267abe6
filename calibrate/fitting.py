"""Fitting a curve to points, some of which are wrong, and judging it by points it has not seen.

    minimise  sum over points of soft_l1((fitted - measured) / measured),   coefficients >= 0

Relative residuals, because a pass of 10 ms matters as much as one of 100; soft_l1, so that a point
that something else disturbed pulls little. About every fourth point is held out, by the seed, none
of them a corner of what was varied, and the coefficients come from the others alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.calibrate.runner import SweepPoint
from orbitflow.machine.profile import FitError, MeasuredPoint

SOFT = 0.05  # relative residuals beyond this count linearly, below it by their square
HELD_OUT = 4  # one point of so many
FAR_OFF = 0.25  # a point that far from a curve is named ...
FAR_OFF_TIMES = 4  # ... if that is also so many times what is usual for the curve
NOTHING = 1e-6  # a term whose largest share of the shortest time is below this is none
POOR = 0.10  # worst held-out error that is said


class Split(NamedTuple):
    """The points that a curve is fitted to, and those that it is judged by."""

    fitted: tuple[SweepPoint, ...]
    held_out: tuple[SweepPoint, ...]

    @property
    def all(self) -> tuple[SweepPoint, ...]:
        """Both."""
        return self.fitted + self.held_out


def split(points: Sequence[SweepPoint], seed: int) -> Split:
    """Hold out about every fourth point. With fewer than four, none."""
    ends = [(min(column), max(column)) for column in zip(*(p.varied for p in points), strict=True)]
    inner = [
        point
        for point in points
        if not all(value in end for value, end in zip(point.varied, ends, strict=True))
    ]
    count = min(len(points) // HELD_OUT, len(inner))
    dice = np.random.Generator(np.random.PCG64(seed))
    chosen = {id(inner[place]) for place in dice.permutation(len(inner))[:count]}
    return Split(
        tuple(p for p in points if id(p) not in chosen), tuple(p for p in points if id(p) in chosen)
    )


def solve(terms: FloatArray, seconds: FloatArray) -> tuple[float, ...]:
    """Coefficients, none below zero, of seconds = terms · coefficients; one row for each point."""
    from scipy.optimize import least_squares, nnls  # takes 0.7 s to import

    scale = np.maximum(np.abs(terms).max(axis=0), 1e-300)
    relative = terms / scale / seconds[:, None]
    start, _ = nnls(relative, np.ones(len(seconds)))
    found = least_squares(
        lambda c: relative @ c - 1.0,
        np.maximum(start, 1e-12 * start.max()),
        jac=lambda c: relative,
        bounds=(0.0, np.inf),
        loss="soft_l1",
        f_scale=SOFT,
        x_scale=np.maximum(start, 1e-3 * start.max()),
    )
    needed = found.x > NOTHING * seconds.min()
    return tuple((np.where(needed, found.x, 0.0) / scale).tolist())


Curve = Callable[[SweepPoint], float]  # what a fit makes of a point, in seconds


def judge(name: str, parts: Split, curve: Curve) -> tuple[FitError, tuple[MeasuredPoint, ...]]:
    """The error of a curve on the points held out, on all where there are none; and all points."""
    points = tuple(
        MeasuredPoint(name, p.varied, p.seconds, curve(p), p.relative_spread, p.repeats, held)
        for group, held in ((parts.fitted, False), (parts.held_out, True))
        for p in group
    )
    errors = [relative_error(p) for p in points if p.held_out]
    errors = errors or [relative_error(p) for p in points]
    measured = np.array([p.measured_s for p in points])
    fitted = np.array([p.fitted_s for p in points])
    total = float(((measured - measured.mean()) ** 2).sum())
    r2 = 1 - float(((measured - fitted) ** 2).sum()) / total if total else None
    error = FitError(
        name, len(points), len(parts.held_out), r2, float(np.median(errors)), max(errors)
    )
    return error, tuple(sorted(points, key=lambda p: p.varied))


def relative_error(point: MeasuredPoint) -> float:
    """Distance of a point from its curve, as a share of what was measured."""
    return abs(point.fitted_s - point.measured_s) / point.measured_s


def far_off(points: Sequence[MeasuredPoint]) -> list[MeasuredPoint]:
    """Points that the curve does not follow, farthest first."""
    usual = float(np.median([relative_error(p) for p in points])) if points else 0.0
    limit = max(FAR_OFF, FAR_OFF_TIMES * usual)
    return sorted(
        (p for p in points if relative_error(p) > limit), key=lambda p: -relative_error(p)
    )
