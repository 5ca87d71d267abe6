"""Points to the coefficients of a profile: one function for each curve.

    decode     base + request · n + token · Σ context         (n, Σ context) -> seconds
    prefill    base + bend(n) (token · n + pair · n · (x + n/2))   (n, x) -> seconds
    a copy     latency + bytes / bandwidth(bytes)              (bytes of a run) -> seconds per run
    slow-down  median over batches of busy / idle − 1          the link busy all the time

Richer forms are taken only where points that were held out follow them better: a link has one
bandwidth unless several by run size halve its worst error; a prefill that is poor is bent by the
size of its pieces if that takes a quarter off. What is judged
is the very formula that planner and simulator use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.calibrate.fitting import POOR, Curve, Split, judge, solve, split
from orbitflow.calibrate.runner import SweepPoint, middle_mean
from orbitflow.machine.profile import Bend, DecodeFit, FitError, LinkFit, MeasuredPoint, PrefillFit

SMALLEST_S = 1e-12
MOST_BANDWIDTHS = 5
FEWEST_BENDS = 6
FEWEST = (("decode", 4), ("prefill", 4), ("h2d", 1), ("d2h", 1))  # points that a curve needs


class Judged(NamedTuple):
    """Points of a curve beside what the fit makes of them, and its error."""

    error: FitError
    points: tuple[MeasuredPoint, ...]


def fit_decode(
    points: Sequence[SweepPoint], outside_s: float, seed: int
) -> tuple[DecodeFit, Judged]:
    """Fit decode passes. `outside_s` was measured apart."""
    parts = split(points, seed)
    rows = np.array([[1.0, *p.varied] for p in parts.fitted])
    base_s, request_s, token_s = solve(rows, _seconds(parts.fitted))
    base_s = max(base_s, SMALLEST_S)
    fit = DecodeFit(base_s, request_s, token_s, min(outside_s, base_s))

    def curve(point: SweepPoint) -> float:
        requests, tokens = point.varied
        return fit.base_s + fit.request_s * requests + fit.token_s * tokens

    return fit, Judged(*judge("decode", parts, curve))


def fit_prefill(points: Sequence[SweepPoint], seed: int) -> tuple[PrefillFit, Judged]:
    """Fit whole prompts and pieces."""
    parts = split(points, seed)
    rows = np.array([_prefill_terms(p) for p in parts.fitted])
    base_s, token_s, pair_s = solve(rows, _seconds(parts.fitted))
    plain = PrefillFit(base_s, max(token_s, SMALLEST_S), pair_s)
    judged = Judged(*judge("prefill", parts, _prefill_curve(plain)))
    if _is_good(judged) or not parts.held_out:
        return plain, judged
    bent = _bent(plain, parts.fitted)
    if bent is None:
        return plain, judged
    again = Judged(*judge("prefill", parts, _prefill_curve(bent)))
    return (bent, again) if _is_clearly_better(again.error, judged.error) else (plain, judged)


def _bent(plain: PrefillFit, points: Sequence[SweepPoint]) -> PrefillFit | None:
    """What the line is off by at every size that was measured; None if those are few."""
    off: dict[float, list[float]] = {}
    curve = _prefill_curve(plain)
    for point in points:
        straight = curve(point) - plain.base_s
        off.setdefault(point.varied[0], []).append((point.seconds - plain.base_s) / straight)
    sizes = sorted(off)
    factors = [middle_mean(off[size]) for size in sizes]
    if len(sizes) < FEWEST_BENDS or min(factors) <= 0:
        return None
    return replace(plain, bend=Bend(tuple(sizes), tuple(factors)))


def _is_good(judged: Judged) -> bool:
    worst = judged.error.worst_relative_error
    return worst is None or worst <= POOR


def _is_clearly_better(one: FitError, other: FitError) -> bool:
    worst, before = one.worst_relative_error, other.worst_relative_error
    return worst is not None and before is not None and worst <= 0.75 * before


def fit_link(name: str, points: Sequence[SweepPoint], seed: int) -> tuple[LinkFit, Judged]:
    """Fit one direction: one bandwidth, or several where that is clearly better."""
    parts = split(points, seed)
    plain = _line(parts.fitted)
    judged = Judged(*judge(name, parts, _link_curve(plain)))
    worst = judged.error.worst_relative_error
    if worst is None or worst <= POOR or not parts.held_out:
        return plain, judged
    richer = _bandwidths(plain, parts)
    again = Judged(*judge(name, parts, _link_curve(richer)))
    better = again.error.worst_relative_error
    return (richer, again) if better is not None and better <= worst / 2 else (plain, judged)


def fit_slowdown(
    idle: Sequence[SweepPoint], busy: Sequence[SweepPoint]
) -> tuple[float, Judged | None]:
    """The share by which a link that never rests slows compute, 0 if it was not measured."""
    alone = {point.varied: point.seconds for point in idle}
    pairs = [(point, alone[point.varied]) for point in busy if point.varied in alone]
    if not pairs:
        return 0.0, None
    slowdown = max(0.0, float(np.median([point.seconds / s - 1 for point, s in pairs])))
    parts = Split(tuple(point for point, _ in pairs), ())
    return slowdown, Judged(*judge("busy link", parts, lambda p: alone[p.varied] * (1 + slowdown)))


def _line(points: Sequence[SweepPoint]) -> LinkFit:
    if len(points) == 1:
        (point,) = points
        return LinkFit(0.0, point.varied, (point.varied[0] / point.seconds,))
    rows = np.array([[1.0, p.varied[0]] for p in points])
    latency_s, byte_s = solve(rows, _seconds(points))
    largest = max(p.varied[0] for p in points)
    return LinkFit(latency_s, (largest,), (1 / max(byte_s, 1e-18),))


def _bandwidths(plain: LinkFit, parts: Split) -> LinkFit:
    """Keep at most half of the fastest run's time as latency; the rest makes the bandwidths."""
    points = sorted(parts.fitted, key=lambda p: p.varied)
    latency_s = min(plain.latency_s, min(p.seconds for p in points) / 2)
    places = np.unique(np.linspace(0, len(points) - 1, MOST_BANDWIDTHS).round().astype(int))
    chosen = [points[place] for place in places]
    rates = tuple(p.varied[0] / (p.seconds - latency_s) for p in chosen)
    return LinkFit(latency_s, tuple(p.varied[0] for p in chosen), rates)


def _link_curve(fit: LinkFit) -> Curve:
    def curve(point: SweepPoint) -> float:
        (size,) = point.varied
        return fit.latency_s + size / float(np.interp(size, fit.run_bytes, fit.bytes_per_s))

    return curve


def _prefill_curve(fit: PrefillFit) -> Curve:
    def curve(point: SweepPoint) -> float:
        _, tokens, pairs = _prefill_terms(point)
        straight = fit.token_s * tokens + fit.pair_s * pairs
        if fit.bend is not None:
            straight *= float(np.interp(tokens, fit.bend.tokens, fit.bend.factors))
        return fit.base_s + straight

    return curve


def _prefill_terms(point: SweepPoint) -> tuple[float, float, float]:
    tokens, prior = point.varied
    return 1.0, tokens, tokens * (prior + tokens / 2)


def _seconds(points: Sequence[SweepPoint]) -> FloatArray:
    return np.array([p.seconds for p in points])
