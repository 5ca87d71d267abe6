"""Better prices for boxes of times: directions by Newton's method, lengths by trial.

The bound is concave in its four prices y and made of minima (run or rest, how many host layers,
which corner). With each minimum replaced by  -m log sum exp(-v / m)  and y kept positive by
m sum log y  it is smooth, with a 4 x 4 Hessian. At a high temperature m its Newton direction sees
far and badly, at a low one near and well, and no length of step is safe: so from every box some
temperatures are tried with some lengths, all at once, and the bound itself, computed exactly,
chooses. Where none is better the temperature falls. Any prices prove something.

Steps are in tokens: prices times what their rows come to (T, T, T1, GPU pages).
"""

from __future__ import annotations

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.planner.turn.relaxed import Bounds, Faces, Relaxation

HEATS = np.array([1.0, 0.2, 0.04])  # temperatures at once, as shares of a box's own
LENGTHS = np.array([2.0, 1.0, 0.5, 0.25, 0.1, 0.03])  # of the steps that are tried
MANY_HEATS, MANY_LENGTHS = np.array([0.5, 0.05]), LENGTHS[1:5]
SHARED = 3  # boxes whose prices helped most: all others try them too
COOLING = 0.3  # of the temperature where nothing is better
BOUNDARY = 0.9  # share of the way to a price of zero that a step may go
MANY = 17  # boxes, from which on fewer trials are made for each


def sizes(relaxation: Relaxation, faces: Faces) -> FloatArray:
    """What each row comes to, shape (boxes, 4)."""
    size: FloatArray = np.maximum(-np.add.reduce(faces.over, axis=1) / faces.over.shape[1], 1e-12)
    size[:, 0] = size[:, 1]
    size[:, 3] = max(relaxation.terms.gpu_pages, 1)
    return size


def raised(
    relaxation: Relaxation,
    faces: Faces,
    prices: FloatArray,
    heat: FloatArray,
    steps: int,
    cut: float,
) -> tuple[FloatArray, Bounds]:
    """The best prices that so many steps from temperatures of shape (boxes,) come by, and their
    bounds. A box is left alone once its bound reaches the cut.
    """
    found = relaxation.bounds(faces, prices)
    rows = np.flatnonzero(found.floor < cut)
    if not len(rows) or not steps:
        return prices, found
    shared = prices[:0]
    floor, best, inner = found.floor[rows], prices[rows], faces
    if len(rows) < len(prices):
        inner = faces.take(rows)
    heat, unit = heat[rows], 1 / sizes(relaxation, inner)
    moved, open_ = np.zeros(len(rows), dtype=np.bool_), np.arange(len(rows))
    for _ in range(steps):
        tried = _tried(relaxation, inner, best[open_] / unit, unit, heat)
        if len(shared):
            others = np.broadcast_to(shared, (len(open_), *shared.shape))
            tried = np.concatenate([tried, others], axis=1)
        floors = relaxation.floors(inner, tried)
        at = np.arange(len(open_)), floors.argmax(axis=1)
        more = floors[at] - floor[open_]
        shared = tried[at][np.argsort(-more, kind="stable")[:SHARED]]
        is_better = more > 0
        won = open_[is_better]
        best[won], floor[won], moved[won] = tried[at][is_better], floors[at][is_better], True
        heat = np.where(is_better, heat, COOLING * heat)
        left = np.flatnonzero(floor[open_] < cut)
        if not len(left):
            break
        if len(left) < len(open_):
            open_, inner, unit, heat = open_[left], inner.take(left), unit[left], heat[left]
    again = rows[moved]
    if len(again):
        prices = prices.copy()
        prices[again] = best[moved]
        better = relaxation.bounds(faces.take(again), prices[again])
        found.corner[again], found.gain[again] = better.corner, better.gain
        found.floor[again] = better.floor
    return prices, found


def _tried(
    relaxation: Relaxation, faces: Faces, tokens: FloatArray, unit: FloatArray, heat: FloatArray
) -> FloatArray:
    """Prices around those given, shape (boxes, trials, 4)."""
    boxes = len(heat)
    heats, lengths = (HEATS, LENGTHS) if boxes < MANY else (MANY_HEATS, MANY_LENGTHS)
    several = np.repeat(np.arange(boxes), len(heats))
    hot = np.multiply.outer(heat, heats).ravel()
    base, units = np.maximum(tokens[several], hot[:, None]), unit[several]
    change = _direction(relaxation, faces.take(several), base, units, hot)
    most = np.minimum.reduce(BOUNDARY * base / np.maximum(-change, 1e-30), axis=1)
    length = np.minimum(lengths, most[:, None])
    ends = base[:, None, :] + length[:, :, None] * change[:, None, :]
    tried: FloatArray = ends.reshape(boxes, -1, 4) * unit[:, None, :]
    return tried


def _direction(
    relaxation: Relaxation, faces: Faces, tokens: FloatArray, unit: FloatArray, heat: FloatArray
) -> FloatArray:
    """A whole step of Newton's; all but `heat`, (boxes,), of shape (boxes, 4)."""
    now, costs = relaxation.priced(faces, tokens * unit)
    count = len(tokens)
    by_member, by_corner = heat[:, None, None], heat[:, None]
    ways, cost = _soft_min(costs, by_member)
    softer = cost - np.minimum.reduce(costs, axis=1)
    gain = np.minimum((now.gain + softer[:, None, :]) / by_member, 50.0)
    away = np.exp(-np.abs(gain))
    chance = np.where(gain > 0, away, 1.0) / (1.0 + away)  # (boxes, k, n) of running
    share, _ = _soft_min(now.corner[:, :, None], by_member)  # of the corners, (boxes, k, 1)
    mean = (ways.transpose(2, 0, 1) @ relaxation.by_member).transpose(1, 0, 2)
    mean = mean * unit[:, None, :]
    slope_at = faces.over * unit[:, None, :] + chance @ mean
    slope = np.add.reduce(share * slope_at, axis=1)
    running = np.add.reduce(share * chance, axis=1)
    second = (ways * running[:, None, :]).reshape(count, -1) @ relaxation.squares
    second = second.reshape(count, 4, 4) * (unit[:, :, None] * unit[:, None, :])
    squared = np.add.reduce(share * chance**2, axis=1)[:, :, None] * mean
    second -= np.swapaxes(mean, 1, 2) @ squared
    second += np.swapaxes(slope_at * share, 1, 2) @ slope_at
    second -= slope[:, :, None] * slope[:, None, :]
    second /= by_member
    second.reshape(count, 16)[:, ::5] += by_corner / tokens**2 + 1e-9 / by_corner
    slope += by_corner / tokens
    change: FloatArray = np.linalg.solve(second, slope[:, :, None])[:, :, 0]
    return change


def _soft_min(values: FloatArray, heat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shares along the second axis, and the smoothed minimum."""
    least = np.minimum.reduce(values, axis=1, keepdims=True)
    weight = np.exp(np.maximum((least - values) / heat, -700.0))
    total = np.add.reduce(weight, axis=1, keepdims=True)
    weight /= total
    return weight, (least - heat * np.log(total))[:, 0]
