"""Who holds what on the host, given who runs: what it takes at least, by fractions of layers.

With u = 1 - q/L, a run set needs sum h F >= P hosted pages, where

    u P = sum L (F + 1) - GPU pages + q (1 - 1/L) max_{h > 0} F

and the link pays x_r / F_r seconds a page: the cheapest first. What is absent crosses in the first
pass anyway and is cheaper there, so the order depends on what is saved: X of a pass, Y of the first
or Y + (W - 1) X, that a window cannot be shorter than. `least` bounds many run sets at once by the
fractional optima of all three, with the smallest largest F that could hold P; `whole` says how much
whole layers add.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.question import REST, Terms
from orbitflow.planner.turn.worth import ROUNDING, ranked, times_all


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
    loss = least_with(terms, runs, runs, asked.pages)
    return Least(np.where(asked.fits, loss, np.inf), asked.fits & (asked.pages <= 0))


def least_by_group(terms: Terms, runs: BoolArray) -> FloatArray:
    """The same, better, of run sets that all fit but not without the host: either the smallest
    largest group is the largest, or all there are may be hosted, but for one larger.
    """
    asked = need(terms, runs)
    smallest = asked.largest[:, None]
    larger = np.where(runs & (terms.pages > smallest), terms.pages, np.inf).min(axis=1)
    more = np.where(np.isinf(larger), 0.0, larger - asked.largest) * group_pages(terms)
    some = least_with(terms, runs, runs & (terms.pages <= smallest), asked.pages)
    others = least_with(terms, runs, runs, asked.pages + more)
    return np.minimum(some, np.where(np.isinf(larger), np.inf, others))


def least_with(terms: Terms, runs: BoolArray, hosts: BoolArray, pages: FloatArray) -> FloatArray:
    """What run sets lose at least with so many pages on the host, of who may have any there."""
    link_s, span_s = np.zeros(len(runs)), np.zeros(len(runs))
    moves, more = bool(terms.absent.any()), terms.passes - 1.0
    first_s = runs @ (terms.absent * terms.link_s) if moves else link_s
    tight = np.flatnonzero(pages > 0)
    if len(tight):
        some, pages = runs[tight], np.ceil(pages[tight] - ROUNDING)
        room = np.where(hosts[tight], float(terms.layers), 0.0)
        link_s[tight] = _fill(terms, room, pages, np.inf) @ terms.link_s
        if moves:
            first_s[tight] = _first_link(terms, some, _fill(terms, room, pages, 0.0))
            both = _fill(terms, room, pages, more)
            span_s[tight] = _first_link(terms, some, both) + more * (both @ terms.link_s)
    loss: FloatArray = times_all(terms, runs, link_s, first_s, span_s if moves else None).loss
    return loss


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


def rounded(terms: Terms, runs: BoolArray) -> IntArray:
    """A turn of each of these run sets, which all fit but not without the host: the least link
    seconds of a pass by fractions, whole layers of them, and some of one member for the rest.
    """
    asked = need(terms, runs)
    pages = np.ceil(asked.pages - ROUNDING)
    sizes = np.maximum(terms.pages, 1.0)
    hosts = runs & (terms.pages <= asked.largest[:, None]) & (terms.pages > 0)
    room = np.where(hosts, float(terms.layers), 0.0)
    layers = np.floor(_fill(terms, room, pages, np.inf) + ROUNDING)
    more = np.ceil((pages - layers @ terms.pages)[:, None] / sizes - ROUNDING)
    np.maximum(more, 0.0, out=more)
    at = np.where(more <= room - layers, more * terms.link_s, np.inf).argmin(axis=1)
    rows = np.arange(len(runs))
    layers[rows, at] += np.minimum(more[rows, at], room[rows, at] - layers[rows, at])
    return np.where(runs, layers.astype(np.int64), REST)
