"""How little any turn can lose: a Lagrangian bound over boxes of times.

A turn's times are a point (T, D), D = T1 - T >= 0; once the rows of `question` are priced, its
members separate. With prices c (of compute), l (link), f (first pass), p (a page), all per unit,

    J >= (lambda rho W - c - l - f) T + (lambda rho - f) D + c base + p (ring - GPU pages)
         + sum_r min(weight_r rest_r(T, D),  weight_r run_r(T, D) + cost_r)
    cost_r = c a_r - lambda W + p L (F_r + 1)
             + min over h in {0, absent, L} of h ((s c + l) x_r - p u F_r) + f max(h, absent) x_r

where rest_r and run_r, convex in (T, D), are replaced by tangents at the box's centre: what is left
is concave, so that its least value in a box is at a corner. The ring is at least that of the
smallest group in the box's range of largest groups, none if it may be nobody's, and above the
range nobody is hosted. Where nobody is at all, pages are taken L at a time, and what the GPU has
beyond a multiple of L is of no use.

What a corner says of single members is as useful: a run set that differs from its best one costs
|gain_r| more for each member r in which it differs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.boxes import Boxes
from orbitflow.planner.turn.question import Terms


class Faces(NamedTuple):
    """What boxes are before anything is priced, at k corners: 4, or less where sides are nil."""

    loss: FloatArray  # (boxes, k) J if nobody ran
    gain: FloatArray  # (boxes, k, n) what running adds to it; infinite for who must rest
    over: FloatArray  # (boxes, k, 4) by corner, rows without anybody: base - T, -T, -T1, ring - G
    barred: FloatArray  # (boxes, 3, n) 0, or infinity for host layers that are not allowed
    widths: FloatArray  # (boxes, 3) what T and D vary by, in tokens, and the ring, in pages
    must_run: BoolArray  # (boxes, 1, n)

    def take(self, rows: IntArray) -> Faces:
        """Some of them."""
        fields: tuple[Any, ...] = self
        return Faces(*(field[rows] for field in fields))


class Bounds(NamedTuple):
    """What boxes say at some prices."""

    corner: FloatArray  # (boxes, k) lower bounds of J
    gain: FloatArray  # (boxes, k, n) what running each member adds; -inf for who must run
    floor: FloatArray  # (boxes,)

    def take(self, rows: IntArray) -> Bounds:
        """Some of them."""
        return Bounds(*(field[rows] for field in self))

    def runs(self, rows: IntArray) -> BoolArray:
        """The best run sets at the lowest corners of some boxes, shape (rows, n)."""
        best: BoolArray = self.gain[rows, self.corner[rows].argmin(axis=1)] < 0
        return best


class Relaxation:
    """The bound of one question; what all its boxes share is computed once.

    `rows`, of shape (3, n, 4): what a running member adds to the four priced rows with 0, its
    absent, or all layers on the host; `squares`, (3 n, 16): their outer products.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._sizes = np.sort(terms.pages)
        self._group = terms.ring * (1 - 1 / terms.layers)
        self._steep = terms.weight / terms.tau_s  # late tokens a second, weighted
        self._due = np.where(np.isfinite(terms.due_s), terms.due_s, 1e30)
        self._back = terms.layers * terms.link_s - self._due
        nothing = np.zeros_like(terms.absent)
        layers = np.array([nothing, terms.absent, nothing + terms.layers])
        link_s = layers * terms.link_s
        freed = 1 - terms.ring / terms.layers
        self.rows = np.empty((3, len(nothing), 4))
        self.rows[:, :, 0] = terms.compute_s + terms.slowdown * link_s
        self.rows[:, :, 1] = link_s
        self.rows[:, :, 2] = np.maximum(layers, terms.absent) * terms.link_s
        self.rows[:, :, 3] = terms.layers * (terms.pages + 1) - freed * layers * terms.pages
        self.flat = self.rows.reshape(-1, 4)
        self.by_member = np.ascontiguousarray(self.rows.transpose(1, 0, 2))  # (n, 3, 4)
        self.squares = (self.flat[:, :, None] * self.flat[:, None, :]).reshape(-1, 16)

    def faces(self, boxes: Boxes) -> Faces:
        """Boxes before anything is priced."""
        t, (pass_s, more_s) = self.terms, _corners(boxes)
        middle_pass = ((boxes.low_pass_s + boxes.high_pass_s) / 2)[:, None]
        middle_more = ((boxes.low_more_s + boxes.high_more_s) / 2)[:, None]
        # tangents: value = level + by_pass T + by_more D, shapes (boxes, n)
        span, last = t.passes * middle_pass + middle_more, (t.passes - 1) * t.tau_s
        rest = self._steep * (span + self._back > 0)
        at_once = middle_pass + middle_more - self._due
        behind = span - (self._due + last)
        is_last = (behind > at_once) & (behind > 0)
        run_last = self._steep * is_last
        run_more = np.where(is_last | (at_once > 0), self._steep, 0.0)
        run_pass = run_more + (t.passes - 1) * run_last
        level = run_more * -self._due - run_last * last - rest * self._back - t.passes * t.value
        gain = (run_pass - t.passes * rest)[:, None, :] * pass_s[:, :, None]
        gain += level[:, None, :]
        if more_s.any():
            gain += (run_more - rest)[:, None, :] * more_s[:, :, None]
        if boxes.must_rest.any():
            gain = np.where(boxes.must_rest[:, None, :], np.inf, gain)
        span_price = t.price + np.add.reduce(rest, axis=1)[:, None]
        loss = (rest @ self._back)[:, None] + span_price * (t.passes * pass_s + more_s)
        least, most, barred = self._groups(boxes)
        over = np.empty((*pass_s.shape, 4))
        over[:, :, 0] = t.base_s - pass_s
        over[:, :, 1] = -pass_s
        over[:, :, 2] = -pass_s - more_s
        whole = t.gpu_pages // t.layers * t.layers  # without the host, pages come in L at once
        have = np.where(boxes.last_group >= 0, t.gpu_pages, whole)
        over[:, :, 3] = (least - have)[:, None]
        run_slope = np.add.reduce(np.maximum(run_pass, t.passes * rest), axis=1)
        more_slope = np.add.reduce(np.maximum(run_more, rest), axis=1)
        widths = np.empty((len(least), 3))
        widths[:, 0] = (run_slope + t.price * t.passes) * (boxes.high_pass_s - boxes.low_pass_s)
        widths[:, 1] = (more_slope + t.price) * (boxes.high_more_s - boxes.low_more_s)
        widths[:, 2] = most - least
        return Faces(loss, gain, over, barred, widths, boxes.must_run[:, None, :])

    def bounds(self, faces: Faces, prices: FloatArray) -> Bounds:
        """Bounds at prices of compute, link, first pass and pages, shape (boxes, 4)."""
        return self.priced(faces, prices)[0]

    def priced(self, faces: Faces, prices: FloatArray) -> tuple[Bounds, FloatArray]:
        """Bounds, and the priced cost of running each member in three ways, (boxes, 3, n)."""
        costs = (prices @ self.flat.T).reshape(faces.barred.shape)
        costs += faces.barred
        gain = faces.gain + np.minimum.reduce(costs, axis=1)[:, None, :]
        saved = np.minimum(gain, 0.0)
        if faces.must_run.any():
            saved = np.where(faces.must_run, gain, saved)
            gain = np.where(faces.must_run, -np.inf, gain)
        corner = faces.loss + (faces.over @ prices[:, :, None])[:, :, 0]
        corner += np.add.reduce(saved, axis=2)
        return Bounds(corner, gain, np.minimum.reduce(corner, axis=1)), costs

    def floors(self, faces: Faces, prices: FloatArray) -> FloatArray:
        """Bounds of every box at prices of its own, shape (boxes, trials, 4)."""
        boxes, trials, _ = prices.shape
        costs = (prices @ self.flat.T).reshape(boxes, trials, 3, -1)
        costs += faces.barred[:, None]
        gain = faces.gain[:, None] + np.minimum.reduce(costs, axis=2)[:, :, None, :]
        if faces.must_run.any():
            np.minimum(gain, 0.0, out=gain, where=~faces.must_run[:, None])
        else:
            np.minimum(gain, 0.0, out=gain)
        corner = np.add.reduce(gain, axis=3)
        corner += faces.loss[:, None] + prices @ np.swapaxes(faces.over, 1, 2)
        floors: FloatArray = np.minimum.reduce(corner, axis=2)
        return floors

    def largest_hosted(self, boxes: Boxes, bounds: Bounds, prices: FloatArray) -> IntArray:
        """Rank of the largest group on the host where the bounds of boxes are least; -1 of none."""
        costs = (prices @ self.flat.T).reshape(len(prices), 3, -1)
        runs = bounds.gain[np.arange(len(prices)), bounds.corner.argmin(axis=1)] < 0
        hosted = runs & (costs[:, 1:].min(axis=1) < costs[:, 0]) & (self.terms.pages > 0)
        size = np.where(hosted, self.terms.pages, -1.0)
        most = np.where(boxes.last_group >= 0, self._sizes[boxes.last_group], -1.0)
        largest = np.where(size <= most[:, None], size, -1.0).max(axis=1)
        rank: IntArray = np.where(largest < 0, -1, np.searchsorted(self._sizes, largest))
        return rank

    def ring_pages(self, group: IntArray) -> FloatArray:
        """What largest groups add to the ring."""
        pages: FloatArray = self._group * self._sizes[np.maximum(group, 0)] * (group >= 0)
        return pages

    def _groups(self, boxes: Boxes) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The least and the most that the largest group adds to the ring, in pages; and who may
        have nothing on the host: 0 or infinity by box, number of host layers and member.
        """
        hosts, charged = boxes.last_group >= 0, boxes.first_group >= 0
        least = self._sizes[np.maximum(boxes.first_group, 0)]
        most = self._sizes[boxes.last_group]
        barred = self.terms.pages > np.where(hosts, most, -1.0)[:, None]
        by_way = np.zeros((len(hosts), 3, len(self._sizes)))
        by_way[:, 1:] = np.where(barred, np.inf, 0.0)[:, None, :]
        return self._group * charged * least, self._group * hosts * most, by_way


def _corners(boxes: Boxes) -> tuple[FloatArray, FloatArray]:
    """T and D of the corners, each (boxes, k): low and high T, for low D and then for high."""
    passes, mores = [boxes.low_pass_s], [boxes.low_more_s]
    if (boxes.high_pass_s > boxes.low_pass_s).any():
        passes, mores = [*passes, boxes.high_pass_s], mores * 2
    if (boxes.high_more_s > boxes.low_more_s).any():
        mores, passes = mores + [boxes.high_more_s] * len(passes), passes * 2
    return np.array(passes).T, np.array(mores).T
