"""Better prices for boxes of times, by Newton's method on a smoothed bound.

The bound is concave in its four prices y and made of minima (run or rest, how many host layers,
which corner). Each minimum is replaced by  -m log sum exp(-v / m), the temperature m falling from
step to step, and y is kept positive by m sum log y: a smooth concave function with a 4 x 4
Hessian, for all boxes at once. Whatever comes out, the bound is then computed exactly: any prices
prove something.

Steps are in tokens: prices times what their rows come to (T, T, T1, GPU pages).
"""

from __future__ import annotations

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.planner.turn.relaxed import Bounds, Faces, Relaxation

BOUNDARY = 0.9  # share of the way to a price of zero that a step may go
LEAST = 1e-6  # tokens: prices are at least that, so that they can grow again


def sizes(relaxation: Relaxation, faces: Faces) -> FloatArray:
    """What each row comes to, shape (boxes, 4)."""
    size: FloatArray = np.maximum(-faces.over.mean(axis=1), 1e-12)
    size[:, 0] = size[:, 1]
    size[:, 3] = max(relaxation.terms.gpu_pages, 1)
    return size


def raised(
    relaxation: Relaxation, faces: Faces, prices: FloatArray, heat: FloatArray, cut: float
) -> tuple[FloatArray, Bounds]:
    """The best prices that steps at temperatures *heat*, shape (steps, boxes), come by, and their
    bounds. A box is left alone once its bound reaches the cut.
    """
    unit = 1 / sizes(relaxation, faces)
    best = relaxation.bounds(faces, prices)
    best_prices = prices.copy()
    rows = np.arange(len(prices))
    tokens = np.maximum(prices / unit, heat[0][:, None])  # from zero, steps would only double them
    for heat_now in heat:
        open_ = best.floor[rows] < cut
        if not open_.all():
            rows, tokens, faces = rows[open_], tokens[open_], faces.take(np.flatnonzero(open_))
        if not len(rows):
            break
        tokens = _step(relaxation, faces, tokens, unit[rows], heat_now[rows])
        tokens = np.maximum(tokens, LEAST)
        bounds = relaxation.bounds(faces, tokens * unit[rows])
        better = bounds.floor > best.floor[rows]
        won = rows[better]
        best_prices[won] = (tokens * unit[rows])[better]
        best.corner[won] = bounds.corner[better]
        best.gain[won] = bounds.gain[better]
        best.floor[won] = bounds.floor[better]
    return best_prices, best


def _step(
    relaxation: Relaxation, faces: Faces, tokens: FloatArray, unit: FloatArray, heat: FloatArray
) -> FloatArray:
    """One step of Newton's; all but `heat`, (boxes,), of shape (boxes, 4)."""
    rows, must_run = relaxation.rows, faces.must_run
    count = len(tokens)
    by_member, by_corner = heat[:, None, None], heat[:, None]
    costs = relaxation.costs(faces, tokens * unit)
    ways, cost = _soft_min(costs, by_member)
    gain = faces.gain + cost[:, None, :]
    saved = np.where(must_run, gain, np.minimum(gain, 0.0))
    gain = np.minimum(gain / by_member, 50.0)
    away = np.exp(-np.abs(gain))
    chance = np.where(gain > 0, away, 1.0) / (1.0 + away)  # (boxes, k, n) of running
    chance = np.where(must_run, 1.0, chance)
    corner = faces.loss + (faces.over @ (tokens * unit)[:, :, None])[:, :, 0]
    corner = corner + saved.sum(axis=2)
    share, _ = _soft_min(corner[:, :, None], by_member)  # of the corners, (boxes, k, 1)
    mean = np.einsum("bhn,hnp->bnp", ways, rows) * unit[:, None, :]
    slope_at = faces.over * unit[:, None, :] + chance @ mean
    slope = (share * slope_at).sum(axis=1)
    running = (share * chance).sum(axis=1)
    second = ((ways * running[:, None, :]).reshape(count, -1) @ relaxation.squares).reshape(
        count, 4, 4
    )
    second = second * unit[:, :, None] * unit[:, None, :]
    squared = (share * chance**2).sum(axis=1)[:, :, None] * mean
    second = second - np.swapaxes(mean, 1, 2) @ squared
    spread = np.swapaxes(slope_at * share, 1, 2) @ slope_at
    second = second + spread - slope[:, :, None] * slope[:, None, :]
    curve = second / by_member
    curve[:, range(4), range(4)] += by_corner / tokens**2 + 1e-9 / by_corner
    slope = slope + by_corner / tokens
    change = np.linalg.solve(curve, slope[:, :, None])[:, :, 0]
    decrement = np.sqrt(np.maximum(0.0, (change * slope).sum(axis=1)) / heat)
    most = (BOUNDARY * tokens / np.maximum(-change, 1e-30)).min(axis=1)
    length = np.minimum(np.minimum(1.0, most), 4 / np.maximum(decrement, 1e-9))
    moved: FloatArray = tokens + length[:, None] * change
    return moved


def _soft_min(values: FloatArray, heat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shares along the second axis, and the smoothed minimum."""
    least = values.min(axis=1, keepdims=True)
    weight = np.exp(np.maximum((least - values) / heat, -700.0))
    total = weight.sum(axis=1, keepdims=True)
    return weight / total, (least - heat * np.log(total))[:, 0]
