"""Whole layers that hold at least so many pages for the least price, exactly: a bounded knapsack.

    best[p] = least price of at least p pages;   best[p] = min(best[p], best[p - k F] + k price)

member by member, its layers in lots of 1, 2, 4, ... and a remainder, from which every number of
them can be made. Takes time in proportion to pages x members x log layers, so it is for the few
questions where the rounding of a fraction shows: few members with little KV.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.step import IntArray


class _Lot(NamedTuple):
    """So many layers of one item, taken or not."""

    item: int
    layers: int
    pages: int
    price: float


def cover(room: IntArray, sizes: IntArray, prices: FloatArray, pages: int) -> IntArray | None:
    """Layers of each item, shape (n,), at most `room`, that hold so many pages; sizes are pages of
    one layer, prices of one layer. None if there is no room.
    """
    lots = [lot for item in range(len(room)) for lot in _lots(item, room, sizes, prices)]
    best = np.full(pages + 1, np.inf)
    best[0] = 0.0
    takes = []
    for lot in lots:
        reach = min(lot.pages, pages + 1)
        taken = np.full(pages + 1, best[0] + lot.price)
        taken[reach:] = best[: pages + 1 - reach] + lot.price
        takes.append(taken < best)
        best = np.minimum(best, taken)
    if np.isinf(best[pages]):
        return None
    layers, left = np.zeros(len(room), dtype=np.int64), pages
    for lot, take in zip(reversed(lots), reversed(takes), strict=True):
        if take[left]:
            layers[lot.item] += lot.layers
            left = max(0, left - lot.pages)
    return layers


def _lots(item: int, room: IntArray, sizes: IntArray, prices: FloatArray) -> list[_Lot]:
    """One item's layers as lots."""
    lots, left, count = [], int(room[item]), 1
    while left > 0 and sizes[item] > 0:
        layers = min(count, left)
        lots.append(_Lot(item, layers, layers * int(sizes[item]), layers * float(prices[item])))
        left, count = left - layers, 2 * count
    return lots
