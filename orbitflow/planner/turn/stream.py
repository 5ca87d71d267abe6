"""Who holds what on the host, given who runs: a knapsack that its fraction nearly solves.

With u = 1 - q/L, a run set needs sum h F >= P hosted pages, where

    u P = sum L (F + 1) - GPU pages + q (1 - 1/L) max_{h > 0} F

and the link pays x_r / F_r seconds a page: the cheapest first. What is absent crosses in the first
pass anyway and is cheaper there, so the order depends on what is saved: X of a pass, Y of the first
or Y + (W - 1) X, that a window cannot be shorter than. `least` bounds a run set by the fractional
optima of all three, with the smallest largest F that could hold P; `spread` rounds the one fraction
of each up, so that at most one layer of one member too much is streamed, and `pared` takes back
what swaps of a few layers can.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.planner.turn.cover import cover
from orbitflow.planner.turn.question import REST, BoolArray, Terms
from orbitflow.planner.turn.worth import ROUNDING, ranked, times_all, worth_all
from orbitflow.step import IntArray

MOST_SWAPS = 8  # in `pared`
MANY_SWAPS = 1024  # that are looked at: the fewer members, the more layers of somebody in each
BREADTH = 16  # swaps that are tried at once
MOST_PAGES = 10_000  # on the host for which rounding is exact
MOST_GROUPS = 4  # largest groups with which it is
GROUPS = (0, 1, 3, 10**6)  # ranks above the smallest largest group


class Least(NamedTuple):
    """A lower bound of run sets: arrays of shape (sets,)."""

    loss: FloatArray  # infinite where nothing fits
    is_met: BoolArray  # by hosting nothing at all, exactly


class Need(NamedTuple):
    """What run sets must have on the host: arrays of shape (sets,)."""

    pages: FloatArray  # P with the largest group as small as can be
    largest: FloatArray  # that smallest largest group, in pages
    fits: BoolArray


def need(terms: Terms, runs: BoolArray) -> Need:
    """Hosted pages that memory asks for; run sets of shape (sets, n)."""
    layers, freed = terms.layers, terms.layers - terms.ring  # both sides times L
    over = layers * (layers * (runs @ (terms.pages + 1)) - terms.gpu_pages)
    fits = np.asarray(runs.any(axis=1))
    if terms.must_run.any():
        fits &= (runs | ~terms.must_run).all(axis=1)
    pages, largest = np.zeros(len(runs)), np.zeros(len(runs))
    tight = np.flatnonzero(fits & (over > 0))
    if not len(tight):
        return Need(pages, largest, fits)
    over = over[tight]
    order = np.argsort(terms.pages, kind="stable")
    sizes = terms.pages[order]
    held = np.cumsum(runs[np.ix_(tight, order)] * (layers * sizes), axis=1)
    holds = held * freed >= (over - ROUNDING)[:, None] + terms.ring * (layers - 1) * sizes
    fits[tight] = holds.any(axis=1) & (freed > 0)
    most = np.where(fits[tight], sizes[holds.argmax(axis=1)], 0.0)
    largest[tight] = most
    pages[tight] = np.where(fits[tight], over / max(freed, 1) + group_pages(terms) * most, 0.0)
    return Need(pages, largest, fits)


def least(terms: Terms, runs: BoolArray) -> Least:
    """What run sets lose at least."""
    asked = need(terms, runs)
    link_s, span_s = np.zeros(len(runs)), np.zeros(len(runs))
    moves, more = bool(terms.absent.any()), terms.passes - 1.0
    first_s = runs @ (terms.absent * terms.link_s) if moves else link_s
    tight = np.flatnonzero(asked.pages > 0)
    if len(tight):
        some, pages = runs[tight], asked.pages[tight]
        room = np.where(some, float(terms.layers), 0.0)
        link_s[tight] = _fill(terms, room, pages, np.inf) @ terms.link_s
        if moves:
            first_s[tight] = _first_link(terms, some, _fill(terms, room, pages, 0.0))
            both = _fill(terms, room, pages, more)
            span_s[tight] = _first_link(terms, some, both) + more * (both @ terms.link_s)
    times = times_all(terms, runs, link_s, first_s, span_s if moves else None)
    return Least(np.where(asked.fits, times.loss, np.inf), asked.fits & (asked.pages <= 0))


def spread(terms: Terms, runs: BoolArray, groups: tuple[int, ...] = GROUPS) -> IntArray:
    """Turns of these run sets, all of which must fit, shape (k, sets, n): the cheapest pages of the
    window, of a pass or of the first one, hosting nobody larger than *groups* ranks above the
    smallest largest group. Some may not fit.
    """
    asked = need(terms, runs)
    every_pass = (np.inf, 0.0, terms.passes - 1.0) if terms.absent.any() else (np.inf,)
    sizes = np.sort(terms.pages)
    smallest = np.searchsorted(sizes, asked.largest)
    turns = []
    for more in groups:
        allowed = sizes[np.minimum(smallest + more, len(sizes) - 1)]
        hosts = runs & (terms.pages <= allowed[:, None])
        room = np.where(hosts, float(terms.layers), 0.0)
        extra = np.max(terms.pages * hosts, axis=1) - asked.largest
        pages = asked.pages + (asked.pages > 0) * extra * group_pages(terms)
        for price in every_pass:
            turns.append(_fill(terms, room, pages, price))
    whole = np.ceil(np.stack(turns) - ROUNDING).astype(np.int64)
    return np.where(runs, np.minimum(whole, terms.layers), REST)


def pared(terms: Terms, turn: IntArray, swaps: int = MOST_SWAPS) -> IntArray:
    """A turn of shape (n,) with less on the link, by layers taken back or swapped one pair after
    another, so often at most, while that helps.
    """
    best, known = turn, worth_all(terms, turn[None, :]).at(0)
    for _ in range(swaps):
        is_bound = known.link_s >= known.pass_s
        pass_price = terms.passes * (1.0 if is_bound else terms.slowdown)
        prices = (pass_price, float(known.first_pass_s > known.pass_s))
        if not any(prices):
            break
        rows = _swapped(terms, best, *prices)
        worths = worth_all(terms, rows)
        at = worths.best()
        if at is None or worths.loss[at] >= known.loss - ROUNDING:
            break
        best, known = rows[at], worths.at(at)
    return best


def exact(terms: Terms, runs: BoolArray) -> IntArray:
    """Turns of one run set of shape (n,), shape (k, n), that hold what they must for exactly the
    least price, with one of the smallest largest groups; none where that takes long.
    """
    asked = need(terms, runs[None, :])
    every_pass = (0.0, terms.passes - 1.0, 1e6) if terms.absent.any() else (1.0,)
    sizes = np.unique(terms.pages[runs & (terms.pages >= asked.largest[0])])
    found = []
    for largest in sizes[:MOST_GROUPS]:
        extra = (largest - asked.largest[0]) * group_pages(terms)
        pages = ceil(asked.pages[0] + extra - ROUNDING)
        if not 0 < pages <= MOST_PAGES:
            break
        hosts = runs & (terms.pages <= largest)
        absent = np.where(hosts, terms.absent, 0).astype(np.int64)
        room = np.concatenate([absent, np.where(hosts, terms.layers, 0) - absent])
        items = np.tile(terms.pages, 2).astype(np.int64)
        for price in every_pass:
            cost = np.concatenate([(price + ROUNDING) * terms.link_s, (price + 1) * terms.link_s])
            layers = cover(room, items, cost, pages)
            if layers is not None:
                found.append(layers[: len(runs)] + layers[len(runs) :])
    rows = np.array(found, dtype=np.int64).reshape(-1, len(runs))
    return np.where(runs, rows, REST)


def _fill(terms: Terms, room: FloatArray, pages: FloatArray, every_pass: float) -> FloatArray:
    """Layers on the host, shape (sets, n), that hold so many pages for the least price; `room` is
    the most layers of each. A link second costs `every_pass`, and 1 more if only it makes the layer
    cross in the first pass; infinite: that does not count.
    """
    rate = terms.link_s / np.maximum(terms.pages, 1.0)
    if np.isinf(every_pass):
        return _filled(room, terms.pages, pages, rate)
    absent = np.minimum(room, terms.absent)
    twice = np.concatenate([absent, room - absent], axis=1)
    price = np.concatenate([every_pass * rate + ROUNDING * rate, (every_pass + 1) * rate])
    layers = _filled(twice, np.tile(terms.pages, 2), pages, price)
    count = len(terms.pages)
    return layers[:, :count] + layers[:, count:]


def _filled(
    room: FloatArray, sizes: FloatArray, pages: FloatArray, price: FloatArray
) -> FloatArray:
    """Of items with so much room, sizes and prices a page, the cheapest that hold the pages."""
    order = ranked(price)
    by_price = np.maximum(sizes[order], 1.0)
    room = room[:, order] * (sizes[order] > 0)
    held = room * by_price
    before = np.cumsum(held, axis=1) - held
    layers = np.empty_like(room)
    layers[:, order] = np.clip((pages[:, None] - before) / by_price, 0.0, room)
    return layers


def _first_link(terms: Terms, runs: BoolArray, hosted: FloatArray) -> FloatArray:
    """Link seconds of the first pass."""
    seconds: FloatArray = (np.maximum(hosted, terms.absent) * runs) @ terms.link_s
    return seconds


def group_pages(terms: Terms) -> float:
    """Hosted pages that one page more of the largest group asks for."""
    return terms.ring * (terms.layers - 1) / max(terms.layers - terms.ring, 1)


def _swapped(terms: Terms, turn: IntArray, pass_price: float, first_price: float) -> IntArray:
    """The turn with some layers less of somebody on the host (one if there are many members), and
    as many more of another as memory asks for: the BREADTH pairs that save most, shape (pairs, n).
    Prices of a link second: of every pass, and of the first alone.
    """
    runs = turn != REST
    hosted = np.where(runs, turn, 0).astype(np.float64)
    takers, givers = np.flatnonzero(hosted > 0), np.flatnonzero(runs & (terms.pages > 0))
    if not len(takers):
        return turn[None, :][:0]
    sizes = terms.pages[takers]
    largest = sizes.max()
    freed, layers, group = terms.layers - terms.ring, terms.layers, terms.ring * (terms.layers - 1)
    over = layers * (layers * (runs @ (terms.pages + 1)) - terms.gpu_pages)
    spare = freed * (hosted @ terms.pages) - over - group * largest
    others = np.where(takers[:, None] != takers, sizes, 0.0).max(axis=1)[:, None]
    most = min(terms.layers, max(1, MANY_SWAPS // (len(takers) * len(givers))))
    taken = np.arange(1.0, most + 1)[:, None, None]  # axes: layers taken, taker, giver
    left = np.where(taken < hosted[takers, None], largest, others)  # the largest without the giver
    missing = taken * freed * sizes[:, None] - spare
    alone = missing - group * (largest - left)
    with_giver = missing - group * (largest - np.maximum(left, terms.pages[givers]))
    given = np.ceil(with_giver / (freed * terms.pages[givers]) - ROUNDING)
    given = np.where(alone <= 0, 0.0, np.maximum(1.0, given))
    had, get = hosted[takers, None], hosted[givers]
    allowed = (taken <= had) & (given <= layers - get) & (takers[:, None] != givers)
    crossed = np.clip(had - terms.absent[takers, None], 0, taken)
    less = pass_price * taken + first_price * crossed
    crossing = np.maximum(0.0, given - np.maximum(0.0, terms.absent[givers] - get))
    more = pass_price * given + first_price * crossing
    saved = less * terms.link_s[takers, None] - more * terms.link_s[givers]
    saved = np.where(allowed, saved, -np.inf)
    best = ranked(-saved.ravel())[:BREADTH]
    count, taker, giver = np.unravel_index(best[saved.ravel()[best] > -np.inf], saved.shape)
    rows = np.repeat(turn[None, :], len(count), axis=0)
    at = np.arange(len(count))
    rows[at, takers[taker]] -= count + 1
    rows[at, givers[giver]] += given[count, taker, giver].astype(np.int64)
    return rows
