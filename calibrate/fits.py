"""Points to the coefficients of a profile: one function for each curve.

    decode     base + request · n + token · Σ context         (n, Σ context) -> seconds
    prefill    base + bend(n) (token · n + pair · n · (x + n/2))   (n, x) -> seconds
    a copy     latency + bytes / bandwidth(bytes)              (bytes of a run) -> seconds per run
    slow-down  median over batches of busy / idle − 1          the link busy all the time

A richer form is taken only where the points that were held out follow it better. A link has one
bandwidth unless several, by run size, halve its worst error. A poor prefill is bent by the size of
its pieces if that takes a quarter off. What is judged is the formula that planner and simulator
use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.calibrate.fitting import POOR, Curve, JudgedFit, Split, judge, solve, split
from orbitflow.calibrate.runner import SweepPoint, middle_mean
from orbitflow.machine.line_passes import Bend, DecodeFit, PrefillFit
from orbitflow.machine.profile import LinkFit

SMALLEST_S = 1e-12
MOST_BANDWIDTHS = 5
FEWEST_BENDS = 6
FEWEST = (("decode", 4), ("prefill", 4), ("h2d", 1), ("d2h", 1))  # points that a curve needs


def fit_decode(
    points: Sequence[SweepPoint], outside_s: float, seed: int
) -> tuple[DecodeFit, JudgedFit]:
    """Fit decode passes. `outside_s` is the measured time outside the layers."""
    parts = split(points, seed)
    rows = np.array([[1.0, *p.varied] for p in parts.fitted])
    base_s, request_s, token_s = solve(rows, _seconds(parts.fitted))
    base_s = max(base_s, SMALLEST_S)
    fit = DecodeFit(base_s, request_s, token_s, min(outside_s, base_s))

    def curve(point: SweepPoint) -> float:
        requests, tokens = point.varied
        return fit.base_s + fit.request_s * requests + fit.token_s * tokens

    return fit, judge("decode", parts, curve)


def fit_prefill(points: Sequence[SweepPoint], seed: int) -> tuple[PrefillFit, JudgedFit]:
    """Fit whole prompts and pieces."""
    parts = split(points, seed)
    rows = np.array([_prefill_terms(p) for p in parts.fitted])
    base_s, token_s, pair_s = solve(rows, _seconds(parts.fitted))
    plain = PrefillFit(base_s, max(token_s, SMALLEST_S), pair_s)
    judged = judge("prefill", parts, _prefill_curve(plain))
    if _worst(judged) <= POOR or not parts.held_out:
        return plain, judged
    bent = _bent(plain, parts.fitted)
    if bent is None:
        return plain, judged
    again = judge("prefill", parts, _prefill_curve(bent))
    return (bent, again) if _worst(again) <= 0.75 * _worst(judged) else (plain, judged)


def _bent(plain: PrefillFit, points: Sequence[SweepPoint]) -> PrefillFit | None:
    """The plain fit, bent by its error at every measured size; None if there are few sizes."""
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


def _worst(judged: JudgedFit) -> float:
    worst = judged.error.worst_relative_error
    assert worst is not None, "a fit is judged by one point at least"
    return worst


def fit_link(name: str, points: Sequence[SweepPoint], seed: int) -> tuple[LinkFit, JudgedFit]:
    """Fit one direction: one bandwidth, or several where that is clearly better."""
    parts = split(points, seed)
    plain = _line(parts.fitted)
    judged = judge(name, parts, _link_curve(plain))
    if _worst(judged) <= POOR or not parts.held_out:
        return plain, judged
    richer = _bandwidths(plain, parts)
    again = judge(name, parts, _link_curve(richer))
    return (richer, again) if _worst(again) <= 0.5 * _worst(judged) else (plain, judged)


def fit_slowdown(
    idle: Sequence[SweepPoint], busy: Sequence[SweepPoint]
) -> tuple[float, JudgedFit | None]:
    """The share by which a busy link slows compute; 0 if it was not measured."""
    alone = {point.varied: point.seconds for point in idle}
    pairs = [(point, alone[point.varied]) for point in busy if point.varied in alone]
    if not pairs:
        return 0.0, None
    slowdown = max(0.0, float(np.median([point.seconds / s - 1 for point, s in pairs])))
    parts = Split(tuple(point for point, _ in pairs), ())
    return slowdown, judge("busy link", parts, lambda p: alone[p.varied] * (1 + slowdown))


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
