"""Whole layers that hold at least so many pages for the least price: a bounded knapsack.

The fraction's optimum takes items by price a page up to one, the critical item, at rho a page. A
layer more or less of another item costs what it is dearer or cheaper than rho,

    price of any cover  >=  fraction's + sum over layers changed of |price_i - rho size_i|

so none that is better than a cover known changes more of an item than their difference pays for.
What is left of the items is a core of a few layers of a few of them, and for that

    best[p] = min(best[p], best[p - size] + price)      least price of at least p pages

goes item by item, layers in lots of 1, 2, 4, ... and a remainder that every number is made of;
where pages are very many, by those p only that lots add up to and that could still be best. The
core is an idea of Balas and Zemel, "An algorithm for large zero-one knapsack problems", 1980.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.planner.turn.worth import ranked

QUICK, DENSE = 100_000, 1_000_000  # pages of the core times its lots: all are gone through, if so
SPARSE = 4_000  # sums of its lots, up to which those that could be best are
GRAIN = 2.0**-40  # of the highest price: whole numbers of that add up exactly, so that ties do
SURE = 1e-6  # of a layer, and of a grain, for rounding


class Cover(NamedTuple):
    """Layers of each item, and what no cover costs less than: their price, if they are best."""

    layers: IntArray
    price: float
    least: float


class _Lot(NamedTuple):
    """So many layers of one item, taken or not."""

    item: int
    layers: int
    pages: int
    price: float


def cover(
    room: IntArray, sizes: IntArray, prices: FloatArray, pages: int, *, is_quick: bool = False
) -> Cover | None:
    """The cheapest layers of items of shape (n,), at most `room` of each, that hold so many pages;
    sizes are pages of one layer, prices of one layer; a quick one need not be best. None if there
    is no room.
    """
    items = np.flatnonzero((room > 0) & (sizes > 0))
    items = items[ranked(prices[items] / sizes[items])]
    layers = np.zeros(len(room), dtype=np.int64)
    room, sizes, prices = room[items], sizes[items], prices[items]
    held = np.cumsum(room * sizes)
    if not len(items) or held[-1] < pages:
        return None
    unit = float(prices.max()) * GRAIN
    prices = np.rint(prices / unit)
    at = int(np.searchsorted(held, pages))
    is_cheaper = np.arange(len(items)) < at
    missing = pages - (int(held[at - 1]) if at else 0)
    rate = float(prices[at] / sizes[at])
    taken = np.where(is_cheaper, room, 0)
    least = float(taken @ prices) + missing * rate
    taken[at], short = divmod(missing, int(sizes[at]))
    if short:
        _top_up(taken, room, sizes, prices, at, short)
    price = float(taken @ prices)
    if price - least >= 1:
        changes = (price - least) / np.maximum(np.abs(prices - rate * sizes), SURE)
        core = np.minimum(room, np.minimum(changes + SURE, 1e9).astype(np.int64))
        base = np.where(is_cheaper, room - core, 0)
        most = QUICK if is_quick else DENSE
        known = price - float(base @ prices)
        best = _best(core, sizes, prices, pages - int(base @ sizes), known, most)
        if best is not None:
            taken = base + best
            price = least = float(taken @ prices)
    layers[items] = taken
    return Cover(layers, price * unit, (min(least, price) - float(room.sum()) / 2) * unit)


def _top_up(
    taken: IntArray, room: IntArray, sizes: IntArray, prices: FloatArray, at: int, short: int
) -> None:
    """Make a cover of layers that are short of some pages: with a few layers of one item, for them
    and for some layers of the critical one that it gives back.
    """
    back = np.arange(taken[at] + 1)[:, None]
    more = -(-(short + back * sizes[at]) // sizes)
    left = room - taken + back * (np.arange(len(room)) == at)
    cost = np.where(more <= left, more * prices - back * prices[at], np.inf)
    row, item = divmod(int(cost.argmin()), len(room))
    taken[at] -= row
    taken[item] += more[row, item]


def _best(
    room: IntArray, sizes: IntArray, prices: FloatArray, pages: int, known: float, most: int
) -> IntArray | None:
    """The cheapest cover of items in order of their price a page, where one is known for so much;
    None if it takes more than so many pages times lots, or very many of their sums.
    """
    lots = [
        _Lot(item, count, count * size, count * price)
        for item, most, size, price in zip(
            range(len(room)), room.tolist(), sizes.tolist(), prices.tolist(), strict=True
        )
        for count in _counts(most)
    ]
    taken: list[_Lot] | None = None
    if len(lots) * pages <= most:
        taken = _dense(lots, pages)
    elif most != QUICK:
        taken = _sparse(lots, pages, known)
    if taken is None:
        return None
    layers = np.zeros(len(room), dtype=np.int64)
    for lot in taken:
        layers[lot.item] += lot.layers
    return layers


def _dense(lots: list[_Lot], pages: int) -> list[_Lot]:
    """The lots of the cheapest cover, by every number of pages."""
    best, taken = np.full(pages + 1, np.inf), np.empty(pages + 1)
    best[0] = 0.0
    takes = []
    for lot in lots:
        reach = min(lot.pages, pages + 1)
        taken[:reach] = best[0] + lot.price
        np.add(best[: pages + 1 - reach], lot.price, out=taken[reach:])
        takes.append(taken < best)
        np.minimum(best, taken, out=best)
    chosen, left = [], pages
    for lot, take in zip(reversed(lots), reversed(takes), strict=True):
        if take[left]:
            chosen.append(lot)
            left = max(0, left - lot.pages)
    return chosen


def _sparse(lots: list[_Lot], pages: int, known: float) -> list[_Lot] | None:
    """The same by those numbers of pages only that lots add up to, and that fractions of the lots
    to come could still make a cover for no more than is known.
    """
    held, price, steps = np.zeros(1), np.zeros(1), []
    can = np.cumsum([0.0, *(lot.pages for lot in lots)])
    costs = np.cumsum([0.0, *(lot.price for lot in lots)])
    for at, lot in enumerate(lots):
        both = np.concatenate([held, np.minimum(held + lot.pages, pages)])
        cost = np.concatenate([price, price + lot.price])
        hope = np.interp(pages - both + can[at + 1], can, costs, right=np.inf) - costs[at + 1]
        kept = np.flatnonzero(cost + hope <= known + 1)
        kept = kept[np.lexsort((cost[kept], -both[kept]))]
        sorted_cost = cost[kept]
        is_cheaper = np.ones(len(kept), dtype=np.bool_)
        is_cheaper[1:] = sorted_cost[1:] < np.minimum.accumulate(sorted_cost)[:-1]
        kept = kept[is_cheaper]
        if len(kept) > SPARSE:
            return None
        steps.append((kept, len(held)))
        held, price = both[kept], cost[kept]
    chosen, state = [], int(np.where(held >= pages, price, np.inf).argmin())
    for lot, (kept, before) in zip(reversed(lots), reversed(steps), strict=True):
        is_taken, state = divmod(int(kept[state]), before)
        if is_taken:
            chosen.append(lot)
    return chosen


def _counts(most: int) -> list[int]:
    """Numbers that every number up to `most` is a sum of, and no larger one."""
    counts, count = [], 1
    while most > 0:
        counts.append(min(count, most))
        most, count = most - counts[-1], 2 * count
    return counts
