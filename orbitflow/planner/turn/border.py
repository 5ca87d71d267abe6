"""Many run sets at once, by fractions of host layers: what they lose at least.

A turn of a run set has link seconds X of a pass and Y of the first, and J grows with both.
Fractions of layers say what each must be at least, and for any weight w, another for every run set,
what both must be,

    X >= min X,    Y >= min Y,    Y + w X >= min (Y + w X)

so that J is at least its least value on the border of what these leave, found by the corners below
its pieces. Weights are W - 1, and those of chords between the fractions found on both sides of the
lowest piece: as in `whole`, which says more, but of one run set at a time and by exact covers.

The largest group is a range of sizes: the smallest says how many pages the host must hold, and all
up to the largest may be there. A range that could lose less than a cut is halved.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.question import Terms
from orbitflow.planner.turn.stream import group_pages, need
from orbitflow.planner.turn.worth import ROUNDING, ranked, times_all

PIECES = 12  # of the border
CHORDS = 4  # at most, with W - 1
TINY_S = 1e-30


def least_by_range(terms: Terms, runs: BoolArray, cut: float) -> FloatArray:
    """What run sets of shape (sets, n) lose at least, that all fit but not without the host; of
    what loses more than the cut the bound need not say how much.
    """
    asked, losses = need(terms, runs), np.full(len(runs), np.inf)
    sizes, size_of = np.unique(terms.pages, return_inverse=True)
    has = np.zeros((len(runs), len(sizes)), dtype=np.bool_)
    for member, size in enumerate(size_of.tolist()):
        has[:, size] |= runs[:, member]
    after = np.where(has, np.arange(len(sizes)), len(sizes))[:, ::-1]
    after = np.minimum.accumulate(after, axis=1)[:, ::-1]
    before = np.maximum.accumulate(np.where(has, np.arange(len(sizes)), -1), axis=1)
    rows, last = np.arange(len(runs)), before[:, -1]
    first = np.searchsorted(sizes, asked.largest) if terms.ring else last
    while len(rows):
        pages = asked.pages[rows] + (sizes[first] - asked.largest[rows]) * group_pages(terms)
        hosts = runs[rows] & (size_of <= last[:, None])
        found = _least(_Fractions.of(terms, runs[rows], hosts, pages), cut)
        is_done = (found >= cut) | (first == last)
        np.minimum.at(losses, rows[is_done], found[is_done])
        rows, first, last = rows[~is_done], first[~is_done], last[~is_done]
        middle = (first + last) // 2
        first = np.concatenate([first, after[rows, middle + 1]])
        last = np.concatenate([before[rows, middle], last])
        rows = np.tile(rows, 2)
    return losses


class _Point(NamedTuple):
    """Link seconds of a pass and of the first one, of shape (rows,)."""

    link_s: FloatArray
    first_s: FloatArray

    def take(self, rows: IntArray) -> _Point:
        """Some of them."""
        return _Point(self.link_s[rows], self.first_s[rows])

    def but(self, rows: BoolArray, other: _Point) -> _Point:
        """Others in some rows."""
        link_s = np.where(rows, other.link_s, self.link_s)
        return _Point(link_s, np.where(rows, other.first_s, self.first_s))


class _Fractions(NamedTuple):
    """Layers of run sets that hold so many pages; `crossing_s` is what crosses in the first pass if
    nothing is hosted, `room` the most layers of each member, first of what is absent, then more.
    """

    terms: Terms
    runs: BoolArray
    room: FloatArray
    pages: FloatArray
    crossing_s: FloatArray

    @classmethod
    def of(cls, terms: Terms, runs: BoolArray, hosts: BoolArray, pages: FloatArray) -> _Fractions:
        """Those of run sets of which some members may have layers on the host."""
        absent = np.where(hosts, terms.absent, 0.0)
        room = np.concatenate([absent, np.where(hosts, terms.layers - terms.absent, 0.0)], axis=1)
        crossing_s = runs @ (terms.absent * terms.link_s)
        return cls(terms, runs, room, np.ceil(pages - ROUNDING), crossing_s)

    def take(self, rows: IntArray) -> _Fractions:
        """Some of them."""
        _, *fields = self
        some: list[Any] = [field[rows] for field in fields]
        return _Fractions(self.terms, *some)

    def least(self, weight: FloatArray) -> _Point:
        """Where Y + w X is least, w of shape (rows,); X alone where it is infinite."""
        terms = self.terms
        rate = terms.link_s / np.maximum(terms.pages, 1.0)
        is_pass = np.isinf(weight)[:, None]
        price = np.where(is_pass, 1.0, np.where(is_pass, 0.0, weight[:, None]) + ROUNDING) * rate
        price = np.concatenate([price, price + np.where(is_pass, 0.0, rate)], axis=1)
        order = ranked(price)
        sizes = np.tile(terms.pages, 2)[order]
        held = np.take_along_axis(self.room, order, axis=1) * sizes
        before = np.cumsum(held, axis=1) - held
        held = np.clip(self.pages[:, None] - before, 0.0, held)
        seconds = held * np.tile(rate, 2)[order]
        is_more = order >= len(rate)
        link_s = seconds.sum(axis=1)
        return _Point(link_s, self.crossing_s + seconds.sum(axis=1, where=is_more))


def _least(fractions: _Fractions, cut: float) -> FloatArray:
    """What is lost at least."""
    terms = fractions.terms
    left = fractions.least(np.full(len(fractions.runs), np.inf))
    first_s = np.maximum(left.link_s, fractions.crossing_s)
    losses: FloatArray = times_all(terms, fractions.runs, left.link_s, first_s).loss
    holds = fractions.room @ np.tile(terms.pages, 2) >= fractions.pages
    losses = np.where(holds, losses, np.inf)
    rows = np.flatnonzero(losses < cut)
    if not terms.absent.any() or not len(rows):
        return losses
    fractions, left = fractions.take(rows), left.take(rows)
    right = fractions.least(np.zeros(len(rows)))
    border = _Border(left.link_s, right.link_s, np.zeros((len(rows), 1)), right.first_s[:, None])
    weight = np.full(len(rows), terms.passes - 1.0)
    for _ in range(CHORDS):
        point = fractions.least(weight)
        border = border.above(weight, point)
        bound, at_s = border.lowest(terms, fractions.runs)
        losses[rows] = np.maximum(losses[rows], bound)
        inside = (left.link_s < point.link_s) & (point.link_s < right.link_s)
        is_left = point.link_s <= at_s
        left, right = left.but(inside & is_left, point), right.but(inside & ~is_left, point)
        fall_s, rise_s = left.first_s - right.first_s, right.link_s - left.link_s
        weight = fall_s / np.maximum(rise_s, TINY_S)
        is_new = (np.abs(border.weights - weight[:, None]) > ROUNDING * weight[:, None]).all(axis=1)
        open_ = np.flatnonzero((losses[rows] < cut) & (fall_s > 0) & (rise_s > 0) & is_new)
        if not len(open_):
            break
        rows, fractions, weight = rows[open_], fractions.take(open_), weight[open_]
        border, left, right = border.take(open_), left.take(open_), right.take(open_)
    return losses


class _Border(NamedTuple):
    """X from its least to where Y is least, and what Y + w X is at least for some w."""

    from_s: FloatArray  # (rows,)
    to_s: FloatArray
    weights: FloatArray  # (rows, lines)
    sums: FloatArray

    def take(self, rows: IntArray) -> _Border:
        """Some of them."""
        return _Border(*(field[rows] for field in self))

    def above(self, weight: FloatArray, point: _Point) -> _Border:
        """With one more line, on which a point is."""
        sums = point.first_s + weight * point.link_s
        return self._replace(
            weights=np.concatenate([self.weights, weight[:, None]], axis=1),
            sums=np.concatenate([self.sums, sums[:, None]], axis=1),
        )

    def lowest(self, terms: Terms, runs: BoolArray) -> tuple[FloatArray, FloatArray]:
        """What J is at least, and the X of the piece that says so."""
        shares = np.arange(PIECES + 1) / PIECES
        ends_s = self.from_s[:, None] + (self.to_s - self.from_s)[:, None] * shares
        first_s = np.repeat(self.sums[:, :1], PIECES + 1, axis=1)
        lines_s = self.sums[:, None] - self.weights[:, None] * ends_s[:, 1:, None]
        first_s[:, :-1] = lines_s.max(axis=2)
        every = np.repeat(runs, PIECES + 1, axis=0)
        span_s = np.repeat(self.sums[:, 1], PIECES + 1)  # of the line with w = W - 1
        losses = times_all(terms, every, ends_s.ravel(), first_s.ravel(), span_s).loss
        losses = losses.reshape(ends_s.shape)
        lowest = losses.argmin(axis=1)
        rows = np.arange(len(lowest))
        return losses[rows, lowest], ends_s[rows, lowest]
