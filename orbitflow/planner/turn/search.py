"""Branch and bound over boxes of times: what is left of the question once members separate.

The prices that say most at the best turn's own times are where all boxes begin. A box is done when
its bound is not worth looking below, or when the run sets that could lose less than that are so few
that they were all tried. Else it is halved, along its widest side or, where that is less than what
its bound lacks, with the member in most doubt running and at rest; and its halves improve its
prices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.boxes import MEMBER, Boxes, point, roots
from orbitflow.planner.turn.climb import CORE, Near, climb, combined
from orbitflow.planner.turn.closing import PATTERNS, Closing
from orbitflow.planner.turn.pool import Pool
from orbitflow.planner.turn.prices import raised, sizes
from orbitflow.planner.turn.question import Terms
from orbitflow.planner.turn.relaxed import Bounds, Faces, Relaxation

HALVED = 8  # boxes at once, the loosest first
PATIENCE = 200  # effort, beyond which a coarse answer is good enough
TWICE = (6, 2)  # open boxes, up to which they are halved once more
DOUBTFUL = 5  # of whom every combination is tried around the best turn
OFFERED = 32  # best run sets of boxes that are tried at once
LAST, LEAST = 128, 8  # run sets that are bounded well in the end, if that makes a proof or not
MAKING, MADE = 3, 4  # steps after which so many hopeful run sets are made into turns
RING = 8.0  # what a page of the ring's width counts for: parting it always tells
UNUSED = 0.1  # of its width, where the largest group in use is the smallest already
NARROW = 2.0  # widths of what a bound lacks, below which members are settled
# Steps towards better prices and the temperature of the first: at the best turn's times and of
# the first boxes as a share of what a member matters, of halves of what their bound lacks
POINT_STEPS, POINT_HEAT = 4, 0.5
ROOT_STEPS, ROOT_HEAT = 4, 0.2
HALF_STEPS, HALF_HEAT = 4, 0.3
LEAST_HEAT = 1e-3  # tokens


def close(terms: Terms, pool: Pool, effort: int, coarse: float = 0.0) -> float:
    """Improve a pool that has a turn; the least that any turn can lose. What takes long need not
    be closer than `coarse`.
    """
    tree = _Tree(terms, pool, effort)
    while tree.effort < effort and tree.step():
        if tree.effort >= PATIENCE:
            pool.settle_for(coarse)
    bound = tree.boxes_bound
    pool.sharpen(bound)
    pool.prove(LAST if bound >= pool.cut else LEAST, bound)
    return tree.bound


class _Tree:
    """The boxes that are open, and the bound of those that are done."""

    def __init__(self, terms: Terms, pool: Pool, effort: int) -> None:
        self._terms, self._pool = terms, pool
        self._relaxation = Relaxation(terms)
        self._closing = Closing(terms)
        self.effort = 0  # boxes bounded so far
        self._done = np.inf
        self._steps = 0
        prices = self._first_prices()
        boxes = roots(terms, pool.loss).settled(terms)
        faces = self._relaxation.faces(boxes)
        steps = ROOT_STEPS if self.effort < effort else 0
        prices = np.repeat(prices, len(faces.loss), axis=0)
        self._open = self._priced(boxes, faces, prices, ROOT_HEAT * _mean_gain(faces), steps)
        self._try()

    def _first_prices(self) -> FloatArray:
        """Prices at the best turn's times, where what they put in doubt is tried."""
        best, known = self._pool.best, self._pool.worth
        assert best is not None, "a search begins with a turn"
        assert known is not None, "which is worth something"
        boxes = point(self._terms, known, best)
        faces = self._relaxation.faces(boxes)
        heat = POINT_HEAT * _mean_gain(faces)
        prices = heat[:, None] / sizes(self._relaxation, faces)
        found = self._priced(boxes, faces, prices, heat, POINT_STEPS)
        self._pool.offer(_doubtful(found.bounds.gain[0, 0]))
        return found.prices

    @property
    def bound(self) -> float:
        """The least that any turn can lose."""
        return min(self.boxes_bound, self._pool.floor)

    @property
    def boxes_bound(self) -> float:
        """The least that any turn can lose with a run set that was not tried."""
        return float(min(self._done, *self._open.floors, np.inf))

    def step(self) -> bool:
        """Bound some more boxes; False if none is left."""
        floors = self._open.floors
        loose = floors < self._pool.cut
        if not loose.all():
            self._done = min(self._done, float(floors[~loose].min()))
            self._open = self._open.take(np.flatnonzero(loose))
        if not len(self._open.floors):
            return False
        order = np.argsort(self._open.floors, kind="stable")
        chosen, rest = self._open.take(order[:HALVED]), self._open.take(order[HALVED:])
        times = 1 + sum(len(chosen.floors) <= few for few in TWICE)
        boxes = chosen.split(self._relaxation, self._pool.cut, times).settled(self._terms)
        parts = len(boxes.low_pass_s) // len(chosen.floors)
        lacking = np.tile(self._pool.cut - chosen.floors, parts)
        prices = np.tile(chosen.prices, (parts, 1))
        faces = self._relaxation.faces(boxes)
        halves = self._priced(boxes, faces, prices, HALF_HEAT * lacking, HALF_STEPS)
        floors = np.maximum(halves.floors, np.tile(chosen.floors, parts))
        self._open = halves._replace(floors=floors)
        self._try()
        self._open = self._open.with_more(rest)
        self._steps += 1
        if self._steps % MAKING == 0:
            before = self._pool.loss
            self._pool.make(MADE)
            if self._pool.loss < before:
                climb(self._terms, self._pool)
        return True

    def _priced(
        self, boxes: Boxes, faces: Faces, prices: FloatArray, heat: FloatArray, steps: int
    ) -> _Open:
        """The boxes with better prices."""
        self.effort += len(faces.loss) * (steps + 1)
        prices, bounds = raised(self._relaxation, faces, prices, heat, steps, self._pool.cut)
        return _Open(boxes, faces.widths, prices, bounds, np.maximum(0.0, bounds.floor))

    def _try(self) -> None:
        """Try what the boxes name; close those with few run sets in doubt, by trying them all."""
        lot, before = self._open, self._pool.loss
        order = np.argsort(lot.floors, kind="stable")[:OFFERED]
        self._pool.offer(lot.bounds.runs(order[lot.floors[order] < self._pool.cut]))
        if len(order) and lot.floors[order[0]] < self._pool.cut:
            self._pool.offer(self._around(lot, int(order[0])))
        if self._pool.loss < before:
            climb(self._terms, self._pool)
        cut = self._pool.cut
        loose = np.flatnonzero(lot.floors < cut)
        doubt = self._closing.in_doubt(lot.bounds.take(loose), cut)
        left = [
            self._closing.left(lot.boxes, lot.bounds, row, doubt[at], cut)
            for at, row in enumerate(loose.tolist())
        ]
        closed = [row for row, runs in zip(loose.tolist(), left, strict=True) if runs is not None]
        if closed:
            self._pool.offer(np.concatenate([runs for runs in left if runs is not None]))
            self._done = min(self._done, cut)
            self._open = lot.take(np.delete(np.arange(len(lot.floors)), closed))

    def _around(self, lot: _Open, row: int) -> BoolArray:
        """Run sets that differ from the best of one box in who is most in doubt, and promise most
        at its times.
        """
        boxes, corner = lot.boxes, int(lot.bounds.corner[row].argmin())
        gain = lot.bounds.gain[row, corner]
        pass_s = float(boxes.low_pass_s[row] + boxes.high_pass_s[row]) / 2
        first_s = pass_s + float(boxes.low_more_s[row] + boxes.high_more_s[row]) / 2
        core = np.argsort(np.abs(gain), kind="stable")[:CORE]
        near = Near(self._terms, gain < 0, pass_s, first_s)
        return combined(near, core[np.isfinite(gain[core])], self._pool.loss)


class _Open(NamedTuple):
    """Boxes with what is known of them."""

    boxes: Boxes
    widths: FloatArray  # (boxes, 3), as in Faces
    prices: FloatArray  # (boxes, 4)
    bounds: Bounds
    floors: FloatArray  # (boxes,)

    def take(self, rows: IntArray) -> _Open:
        """Some of them."""
        return _Open(
            self.boxes.take(rows),
            self.widths[rows],
            self.prices[rows],
            self.bounds.take(rows),
            self.floors[rows],
        )

    def with_more(self, others: _Open) -> _Open:
        """These and others."""
        boxes = (np.concatenate(pair) for pair in zip(self.boxes, others.boxes, strict=True))
        bounds = (np.concatenate(pair) for pair in zip(self.bounds, others.bounds, strict=True))
        return _Open(
            Boxes(*boxes),
            np.concatenate([self.widths, others.widths]),
            np.concatenate([self.prices, others.prices]),
            Bounds(*bounds),
            np.concatenate([self.floors, others.floors]),
        )

    def split(self, relaxation: Relaxation, cut: float, times: int) -> Boxes:
        """Every box halved, and its halves again, so many times: along its widest side, or with
        the members in most doubt running and at rest; its ranks below the largest group in use,
        so that both halves say more. All lower halves first, then all upper.
        """
        rows, widths = np.arange(len(self.floors)), self.widths.copy()
        group = relaxation.largest_hosted(self.boxes, self.bounds, self.prices)
        used = relaxation.ring_pages(group) - relaxation.ring_pages(self.boxes.first_group)
        inside = group > self.boxes.first_group
        widths[:, 2] = np.where(inside, used, UNUSED * widths[:, 2])
        widths[:, 2] *= RING * self.prices[:, 3] * (self.boxes.last_group > self.boxes.first_group)
        doubt = np.abs(self.bounds.gain[rows, self.bounds.corner.argmin(axis=1)])
        order = np.argsort(doubt, axis=1, kind="stable")
        boxes = self.boxes
        for time in range(min(times, order.shape[1])):
            settles = widths.max(axis=1) < NARROW * (cut - self.floors)
            settles &= np.isfinite(doubt[rows, order[:, time]])
            side = np.where(settles, MEMBER, widths.argmax(axis=1))
            parts = len(boxes.low_pass_s) // len(rows)
            boxes = boxes.halves(*(np.tile(of, parts) for of in (side, order[:, time], group)))
            widths[rows, np.minimum(side, 2)] *= np.where(settles, 1.0, 0.5)
            widths[:, 2] *= side != 2
        return boxes


def _mean_gain(faces: Faces) -> FloatArray:
    """What a member that may run matters, in tokens, by box."""
    size = np.where(np.isinf(faces.gain), 0.0, np.abs(faces.gain))
    mean: FloatArray = size.mean(axis=(1, 2))
    return np.maximum(mean, LEAST_HEAT)


def _doubtful(gain: FloatArray) -> BoolArray:
    """The best run set of a corner, and with it all those that differ in who is most in doubt."""
    members = np.argsort(np.abs(gain), kind="stable")[:DOUBTFUL]
    kinds = PATTERNS[: 2 ** len(members), : len(members)] > 0
    runs = np.repeat((gain < 0)[None, :], len(kinds), axis=0)
    runs[:, members] ^= kinds
    return runs
