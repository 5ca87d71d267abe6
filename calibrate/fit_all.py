"""All curves of a calibration: enough points for each, their fits, and notices about them.

There is a notice for a curve whose worst held-out error exceeds 10 %, and for points far off their
curve.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from orbitflow.calibrate.compute_tasks import DECODE, OUTSIDE, PREFILL, SINGLE
from orbitflow.calibrate.fits import (
    FEWEST,
    fit_decode,
    fit_link,
    fit_prefill,
    fit_slowdown,
)
from orbitflow.calibrate.fitting import POOR, JudgedFit, far_off
from orbitflow.calibrate.link import BESIDE, BUSY_LINK, D2H, H2D, IDLE_LINK
from orbitflow.calibrate.runner import Samples
from orbitflow.machine.line_passes import DecodeFit, PrefillFit
from orbitflow.machine.profile import LinkFit, MeasuredPoint

_SHARED_LINK = 0.9  # of its own rate that a direction keeps beside the other one; less is said
MOST_NOISE = 0.9
_NAMED = 3  # points far off that are named


class Fits(NamedTuple):
    """What a profile needs of the measurements."""

    decode: DecodeFit
    prefill: PrefillFit
    h2d: LinkFit
    d2h: LinkFit
    link_slowdown: float
    pass_noise: float
    both_ways: float | None  # share of its own rate that the slower direction keeps
    judged: tuple[JudgedFit, ...]


def is_enough(samples: Samples) -> bool:
    """Whether every curve can be fitted."""
    return not lacking(samples)


def lacking(samples: Samples) -> list[str]:
    """Curves that have too few points."""
    return [curve for curve, least in FEWEST if len(samples.points(curve)) < least]


def fit_all(samples: Samples, seed: int) -> Fits:
    """Fit every curve; `is_enough` must hold."""
    outside = samples.points(OUTSIDE)
    decode, of_decode = fit_decode(
        samples.points(DECODE), outside[0].seconds if outside else 0.0, seed
    )
    prefill, of_prefill = fit_prefill(samples.points(PREFILL), seed)
    h2d, of_h2d = fit_link(H2D, samples.points(H2D), seed)
    d2h, of_d2h = fit_link(D2H, samples.points(D2H), seed)
    slowdown, of_slowdown = fit_slowdown(samples.points(IDLE_LINK), samples.points(BUSY_LINK))
    judged = [of_decode, of_prefill, of_h2d, of_d2h, *([of_slowdown] if of_slowdown else [])]
    return Fits(
        decode, prefill, h2d, d2h, slowdown, _noise(samples), _both_ways(samples), tuple(judged)
    )


def _noise(samples: Samples) -> float:
    """Half the width of an even spread with the passes' own typical distance from the middle."""
    spreads = [point.relative_spread for point in samples.points(SINGLE) if point.repeats > 2]
    return min(MOST_NOISE, 2 * float(np.median(spreads))) if spreads else 0.0


def notices_of(fits: Fits, block_rows: int | None) -> Iterator[str]:
    """What the reader of a profile should know."""
    for error, points in fits.judged:
        worst = error.worst_relative_error
        if worst is not None and worst > POOR:
            points_of = "held-out points" if error.held_out_points else "its own points"
            why = ""
            if error.curve == DECODE and block_rows and _spans_blocks(points, block_rows):
                why = f": passes go by blocks of {block_rows} requests, the fit by single ones"
            yield f"{error.curve} is up to {worst:.0%} off on {points_of}{why}"
        odd = far_off(points)
        if odd:
            named = ", ".join(_named(point) for point in odd[:_NAMED])
            more = f" and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
            yield f"{error.curve}: far off the fit: {named}{more}"
    if fits.both_ways is not None and fits.both_ways < _SHARED_LINK:
        yield (
            f"with both directions busy the slower one keeps {fits.both_ways:.0%} of its rate; "
            "the profile takes them for independent"
        )


def _both_ways(samples: Samples) -> float | None:
    shares = []
    for direction, curve in BESIDE.items():
        alone = {point.varied: point.seconds for point in samples.points(direction)}
        shares += [alone[p.varied] / p.seconds for p in samples.points(curve) if p.varied in alone]
    return min(shares, default=None)


def _spans_blocks(points: tuple[MeasuredPoint, ...], block_rows: int) -> bool:
    return max(point.varied[0] for point in points) > block_rows


def _named(point: MeasuredPoint) -> str:
    at = " x ".join(f"{value:,.0f}" for value in point.varied)
    return f"{at} ({point.measured_s / point.fitted_s - 1:+.0%})"
