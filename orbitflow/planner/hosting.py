"""Who holds what on the host, given who runs: a bound, and good options at once.

A run set needs sum e_r F_r >= P pages freed, where e_r = h_r - q for placements, each of which has
a ring of its own (e_r = 0 for none), and e_r = h_r for layers spread out of phase, where with u = 1
- q / L and the largest hosted group F as small as can be

    P = sum L (F + 1) - GPU pages                                    placements
    u P = sum L (F + 1) - GPU pages + q (1 - 1 / L) max F            spread

A freed page takes at least c_r = x_r / F_r (h / e of the deepest option) seconds of the link, and
only what is not absent anyway takes more of the first pass:

    X >= P min c_r,    Y >= sum absent_r x_r + (P - absent pages) min c_r

With these least X and Y the loss is a bound. What somebody's rest could save is bounded as well:
where k rest, the k that compute longest are gone, nothing is streamed, and all are as late as who
runs. Options: the cheapest candidates go deepest, in order of what W passes of their link cost,
down to an option each; what rounding leaves is freed by the one candidate that does it for least.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.planner.problem import REST, BoolArray, Terms
from orbitflow.planner.score import ROUNDING, TIE, lateness, rounded, times_all


class Levels(NamedTuple):
    """The options that are of use, by what they free. `freed` (k,): of each option, in layers;
    `at_least` and `at_most`: the options that free so many layers, shape (top + 1,).
    """

    freed: IntArray
    at_least: IntArray
    at_most: IntArray
    top: int  # layers that the deepest frees
    ratio: float  # its host layers by that


class Need(NamedTuple):
    """What run sets must free: arrays of shape (sets,)."""

    pages: FloatArray  # P
    largest: FloatArray  # the largest group that may be hosted, in pages
    fits: BoolArray


def levels_of(terms: Terms) -> Levels:
    """The options by what they free."""
    return _levels(tuple(terms.hosted.astype(np.int64).tolist()), terms.ring_each)


@lru_cache(maxsize=64)
def _levels(hosted: tuple[int, ...], ring: int) -> Levels:
    if hosted[0] != 0 or list(hosted) != sorted(hosted):
        raise ValueError("options must ascend from nothing on the host")
    freed = np.maximum(np.array(hosted) - ring * (np.array(hosted) > 0), 0)
    useful = np.flatnonzero((freed > 0) | (np.arange(len(hosted)) == 0))
    steps = np.arange(int(freed[-1]) + 1)
    at_least = useful[np.searchsorted(freed[useful], steps)]
    at_most = useful[np.searchsorted(freed[useful], steps, side="right") - 1]
    top = int(freed[-1])
    return Levels(freed, at_least, at_most, top, hosted[-1] / top if top else 0.0)


def need(terms: Terms, runs: BoolArray) -> Need:
    """What memory asks for; run sets of shape (sets, n)."""
    top = levels_of(terms).top
    over = terms.layers * (runs @ (terms.pages + 1)) - terms.gpu_pages
    fits: BoolArray = np.asarray(runs.any(axis=1) & (runs | ~terms.must_run).all(axis=1))
    if not terms.ring_spread:
        pages = np.maximum(over, 0.0)
        fits &= top * (runs @ terms.pages) >= pages - ROUNDING
        return Need(pages, np.full(len(runs), np.inf), fits)
    pages, largest = np.zeros(len(runs)), np.zeros(len(runs))
    tight = np.flatnonzero(fits & (over > 0))
    if not len(tight):
        return Need(pages, largest, fits)
    order = np.argsort(terms.pages, kind="stable")
    sizes = terms.pages[order]
    held = np.cumsum(runs[np.ix_(tight, order)] * (top * sizes), axis=1)
    asked = spread_pages(terms, over[tight, None], sizes)
    holds = held >= asked - ROUNDING
    fits[tight] = holds.any(axis=1)
    at = holds.argmax(axis=1)
    rows = np.arange(len(tight))
    largest[tight], pages[tight] = sizes[at], asked[rows, at]
    return Need(pages, largest, fits)


def spread_pages(terms: Terms, over: FloatArray, largest: FloatArray) -> FloatArray:
    """P of layers spread out of phase."""
    freed = terms.layers - terms.ring_spread
    if freed <= 0:
        return np.full(np.broadcast_shapes(over.shape, largest.shape), np.inf)
    pages: FloatArray = (
        terms.layers * over + terms.ring_spread * (terms.layers - 1) * largest
    ) / freed
    return pages


def page_price(terms: Terms) -> FloatArray:
    """Link seconds of a freed page, c, shape (n,)."""
    sizes = np.maximum(terms.pages, 1.0)
    prices: FloatArray = np.where(
        terms.pages > 0, terms.link_s * levels_of(terms).ratio / sizes, np.inf
    )
    return prices


def least(terms: Terms, runs: BoolArray, asked: Need) -> FloatArray:
    """What run sets lose at least; infinite where nothing fits."""
    pages = np.where(asked.fits, np.ceil(asked.pages - ROUNDING), 0.0)
    price = np.where(runs, page_price(terms), np.inf).min(axis=1, initial=np.inf)
    price[np.isinf(price)] = 0.0  # nobody has a page: then none is needed, or nothing fits
    link_s = pages * price
    first_s = link_s
    if terms.absent.any():
        here = pages - runs @ (terms.absent * terms.pages)
        first_s = runs @ (terms.absent * terms.link_s) + np.maximum(0.0, here) * price
        first_s = np.maximum(link_s, first_s)
    loss = times_all(terms, runs, link_s, first_s).loss
    return np.where(asked.fits, loss, np.inf)


def least_with_rest(terms: Terms) -> float:
    """What a plan in which somebody rests loses at least; infinite if nobody may rest."""
    may_rest = ~terms.must_run
    count = int(may_rest.sum())
    if not count:
        return np.inf
    saved_s = np.cumsum(np.sort(terms.compute_s[may_rest])[::-1])
    forgone = np.cumsum(np.sort(terms.forgone[may_rest]))
    pass_s = terms.base_s + terms.compute_s.sum() - saved_s
    pass_s = np.maximum(pass_s, terms.weights.least_pass_s)
    span_s = terms.passes * pass_s
    everybody = np.ones((count, len(terms.pages)), dtype=np.bool_)
    late = lateness(terms, everybody, pass_s, span_s) @ terms.weight
    loss = late + terms.weights.second * span_s + forgone - terms.weights.offset
    return float(loss.min())


def complete(terms: Terms, runs: BoolArray, asked: Need) -> IntArray:
    """Options of shape (sets or 2 sets, n) for run sets that fit: where some are absent, those that
    save link seconds of all passes, and those that save them in the first.
    """
    options = np.where(runs, 0, REST)
    tight = np.flatnonzero(asked.pages > 0)
    if not len(tight):
        return options
    runs, pages, largest = runs[tight], asked.pages[tight], asked.largest[tight]
    options[tight] = _completed(terms, runs, pages, largest, terms.passes - 1.0)
    if not terms.absent.any():
        return options
    if terms.ring_spread:
        away = np.where(runs & (terms.absent > 0), terms.pages, 0.0).max(axis=1)
        more = np.maximum(away, largest) - largest
        factor = terms.ring_spread * (terms.layers - 1) / (terms.layers - terms.ring_spread)
        pages, largest = pages + factor * more, largest + more
    return np.concatenate([options, _completed(terms, runs, pages, largest, ROUNDING)])


def _completed(
    terms: Terms, runs: BoolArray, pages: FloatArray, largest: FloatArray, later: float
) -> IntArray:
    """Options of run sets that must free pages; a link second of the passes but the first counts
    for `later`.
    """
    levels = levels_of(terms)
    pages = np.ceil(pages - ROUNDING)
    hosts = runs & (terms.pages <= largest[:, None]) & (terms.pages > 0)
    freed = _cheapest(terms, np.where(hosts, float(levels.top), 0.0), pages, later)
    low = levels.at_most[np.floor(freed + ROUNDING).astype(np.int64)]
    already = levels.freed[low]
    sizes = np.maximum(terms.pages, 1.0)
    missing = np.maximum(0.0, pages - already @ terms.pages)
    wanted = already + np.ceil(missing[:, None] / sizes - ROUNDING).astype(np.int64)
    could = hosts & (wanted <= levels.top)
    deeper = levels.at_least[np.where(could, wanted, 0)]
    columns = np.arange(runs.shape[1])
    more = later * (terms.hosted[deeper] - terms.hosted[low])
    more += terms.crossing[columns, deeper] - terms.crossing[columns, low]
    price = np.where(could, more * terms.link_s, np.inf)
    cheapest = price.min(axis=1, keepdims=True)
    at = (price <= cheapest + TIE * np.abs(cheapest)).argmax(axis=1)
    rows = np.arange(len(runs))
    alone = could[rows, at]
    found = np.where(alone[:, None], low, levels.at_least[np.ceil(freed - ROUNDING).astype(int)])
    found[rows[alone], at[alone]] = deeper[rows[alone], at[alone]]
    _trim(terms, found, hosts, pages, later)
    return np.where(runs, found, REST)


def _trim(terms: Terms, found: IntArray, hosts: BoolArray, pages: FloatArray, later: float) -> None:
    """Take back what is freed beyond need, of the one candidate that it saves most."""
    levels, sizes = levels_of(terms), np.maximum(terms.pages, 1.0)
    already = levels.freed[found] * hosts
    spare = np.maximum(0.0, already @ terms.pages - pages)
    fewer = already - np.floor(spare[:, None] / sizes + ROUNDING).astype(np.int64)
    shallower = levels.at_least[np.maximum(0, fewer)]
    columns, rows = np.arange(found.shape[1]), np.arange(len(found))
    less = later * (terms.hosted[found] - terms.hosted[shallower])
    less += terms.crossing[columns, found] - terms.crossing[columns, shallower]
    saved = np.where(hosts, less * terms.link_s, 0.0)
    most = saved.max(axis=1, keepdims=True)
    at = (saved >= most - TIE * most).argmax(axis=1)
    some = most[:, 0] > 0
    found[rows[some], at[some]] = shallower[rows[some], at[some]]


def _cheapest(terms: Terms, room: FloatArray, pages: FloatArray, later: float) -> FloatArray:
    """Layers freed, shape (sets, n), at most `room`, that free so many pages for the least link
    seconds: what is absent need not cross again in the first pass.
    """
    price, count = page_price(terms), len(terms.pages)
    prices, rooms, sizes = price, room, terms.pages
    if terms.absent.any():
        absent = np.minimum(room, terms.absent / max(levels_of(terms).ratio, 1.0))
        prices = np.concatenate([(later + ROUNDING) * price, (later + 1) * price])
        rooms = np.concatenate([absent, room - absent], axis=1)
        sizes = np.tile(terms.pages, 2)
    order = np.argsort(rounded(prices), kind="stable")
    rooms, sizes = rooms[:, order], np.maximum(sizes[order], 1.0)
    held = rooms * sizes
    before = np.cumsum(held, axis=1) - held
    layers = np.empty_like(rooms)
    layers[:, order] = np.clip((pages[:, None] - before) / sizes, 0.0, rooms)
    return layers if len(order) == count else layers[:, :count] + layers[:, count:]
