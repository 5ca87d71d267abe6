"""How little any turn can lose: a Lagrangian bound over boxes of times.

A turn's times are a point (T, D), D = T1 - T >= 0; once the rows of `question` are priced, its
members separate. With prices c (of compute), l (link), f (first pass), p (a page), all per unit,

    J >= (lambda rho W - c - l - f) T + (lambda rho - f) D + c base + p (ring - GPU pages)
         + sum_r min(weight_r rest_r(T, D),  weight_r run_r(T, D) + cost_r)
    cost_r = c a_r - lambda W + p L (F_r + 1)
             + min over h in {0, absent, L} of h ((s c + l) x_r - p u F_r) + f max(h, absent) x_r

where rest_r and run_r, convex in (T, D), are replaced by tangents at the box's centre: what is left
is concave, so that its least value in a box is at a corner. The ring is at least that of the
smallest group in the box's range of largest groups, above which nobody is hosted; a range of its
own has nobody on the host.

What a corner says of single members is as useful: a run set that differs from its best one costs
|gain_r| more for each member r in which it differs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.planner.turn.boxes import Boxes
from orbitflow.planner.turn.question import BoolArray, Terms
from orbitflow.step import IntArray


class Faces(NamedTuple):
    """What boxes are before anything is priced. Corners: both low, T high, D high, both high; the
    first two alone if D is nowhere above 0, so k is 4 or 2.
    """

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
        nothing = np.zeros_like(terms.absent)
        layers = np.stack([nothing, terms.absent, nothing + terms.layers])
        link_s = layers * terms.link_s
        freed = 1 - terms.ring / terms.layers
        self.rows = np.stack(
            [
                terms.compute_s + terms.slowdown * link_s,
                link_s,
                np.maximum(layers, terms.absent) * terms.link_s,
                terms.layers * (terms.pages + 1) - freed * layers * terms.pages,
            ],
            axis=2,
        )
        self.squares = (self.rows[..., :, None] * self.rows[..., None, :]).reshape(-1, 16)

    def faces(self, boxes: Boxes) -> Faces:
        """Boxes before anything is priced."""
        t = self.terms
        depths = 2 if boxes.high_more_s.any() else 1  # without D there are but two corners
        pass_s = np.stack([boxes.low_pass_s, boxes.high_pass_s] * depths, axis=1)
        more = [boxes.low_more_s] * 2 + [boxes.high_more_s] * 2
        more_s = np.stack(more[: 2 * depths], axis=1)
        middle_pass, middle_more = pass_s.mean(axis=1)[:, None], more_s.mean(axis=1)[:, None]
        # tangents: value = level + by_pass T + by_more D, shapes (boxes, n)
        span = t.passes * middle_pass + middle_more
        back = t.layers * t.link_s - self._due
        rest = self._steep * (span + back > 0)
        at_once = middle_pass + middle_more - self._due
        behind = span - self._due - (t.passes - 1) * t.tau_s
        is_last = (behind > at_once) & (behind > 0)
        is_first = ~is_last & (at_once > 0)
        run_more = self._steep * (is_last | is_first)
        run_pass = self._steep * (is_last * t.passes + is_first)
        run_level = -run_more * self._due - self._steep * is_last * ((t.passes - 1) * t.tau_s)
        gain = (
            (run_level - rest * back - t.passes * t.value)[:, None, :]
            + (run_pass - t.passes * rest)[:, None, :] * pass_s[:, :, None]
            + (run_more - rest)[:, None, :] * more_s[:, :, None]
        )
        gain = np.where(boxes.must_rest[:, None, :], np.inf, gain)
        late = (rest * back).sum(axis=1)[:, None]
        span_price = t.price + rest.sum(axis=1)[:, None]
        loss = late + span_price * (t.passes * pass_s + more_s)
        least, most, barred = self._groups(boxes)
        over = np.stack(
            [
                t.base_s - pass_s,
                -pass_s,
                -pass_s - more_s,
                np.repeat(least[:, None], 2 * depths, axis=1),
            ],
            axis=2,
        )
        over[:, :, 3] -= t.gpu_pages
        price = t.price
        run_slope = np.maximum(run_pass, t.passes * rest).sum(axis=1) + price * t.passes
        more_slope = np.maximum(run_more, rest).sum(axis=1) + price
        widths = np.stack(
            [
                run_slope * (boxes.high_pass_s - boxes.low_pass_s),
                more_slope * (boxes.high_more_s - boxes.low_more_s),
                most - least,
            ],
            axis=1,
        )
        return Faces(loss, gain, over, barred, widths, boxes.must_run[:, None, :])

    def bounds(self, faces: Faces, prices: FloatArray) -> Bounds:
        """Bounds at prices of compute, link, first pass and pages, shape (boxes, 4)."""
        cost = self.costs(faces, prices).min(axis=1)
        gain = faces.gain + cost[:, None, :]
        saved = np.where(faces.must_run, gain, np.minimum(gain, 0.0)).sum(axis=2)
        corner = faces.loss + (faces.over @ prices[:, :, None])[:, :, 0] + saved
        gain = np.where(faces.must_run, -np.inf, gain)
        return Bounds(corner, gain, corner.min(axis=1))

    def costs(self, faces: Faces, prices: FloatArray) -> FloatArray:
        """Priced cost of running each member in three ways, (boxes, 3, n)."""
        count = self.rows.shape[1]
        priced = (prices @ self.rows.reshape(-1, 4).T).reshape(-1, 3, count)
        cost: FloatArray = priced + faces.barred
        return cost

    def _groups(self, boxes: Boxes) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The least and the most that the largest group adds to the ring, in pages; and who may
        have nothing on the host: 0 or infinity by box, number of host layers and member.
        """
        hosts = boxes.last_group >= 0
        least = self._sizes[np.maximum(boxes.first_group, 0)]
        most = self._sizes[boxes.last_group]
        barred = self.terms.pages > np.where(hosts, most, -1.0)[:, None]
        by_way = np.zeros((len(hosts), 3, len(self._sizes)))
        by_way[:, 1:] = np.where(barred, np.inf, 0.0)[:, None, :]
        return self._group * hosts * least, self._group * hosts * most, by_way
