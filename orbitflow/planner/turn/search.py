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

from orbitflow.clock import FloatArray
from orbitflow.planner.turn.boxes import MEMBER, Boxes, point, roots
from orbitflow.planner.turn.pool import Pool
from orbitflow.planner.turn.prices import raised, sizes
from orbitflow.planner.turn.question import BoolArray, Terms
from orbitflow.planner.turn.relaxed import Bounds, Faces, Relaxation
from orbitflow.planner.turn.worth import worth_all
from orbitflow.step import IntArray

HALVED = 24  # boxes at once, the loosest first
FLIPS = 8  # members in doubt at a corner of whom every combination is tried
OFFERED = 32  # best run sets of boxes that are tried at once
NARROW = 2.0  # widths of what a bound lacks, below which members are settled
# Steps towards better prices and the temperature of the first: at the best turn's times and of
# the first boxes as a share of what a member matters, of halves of what their bound lacks
POINT_STEPS, POINT_HEAT = 5, 0.5
ROOT_STEPS, ROOT_HEAT = 4, 0.2
HALF_STEPS, HALF_HEAT = 4, 0.1
COOLING = 0.25  # of the temperature by step
COLDEST = 1e-3  # of max(J, one token)
PATTERNS = (np.arange(2**FLIPS)[:, None] >> np.arange(FLIPS)) & 1 == 1


def close(terms: Terms, pool: Pool, effort: int) -> float:
    """Improve a pool that has a turn; the least that any turn can lose."""
    tree = _Tree(terms, pool)
    while tree.effort < effort and tree.step():
        pass
    return tree.bound


class _Tree:
    """The boxes that are open, and the bound of those that are done."""

    def __init__(self, terms: Terms, pool: Pool) -> None:
        assert pool.best is not None, "a search begins with a turn"
        self._pool = pool
        self._relaxation = Relaxation(terms)
        self.effort = 0  # boxes bounded so far
        self._done = np.inf
        best = pool.best[None, :]
        boxes = point(terms, worth_all(terms, best), best)
        faces = self._relaxation.faces(boxes)
        heat = POINT_HEAT * _mean_gain(faces)
        prices = heat[:, None] / sizes(self._relaxation, faces)
        prices = self._priced(boxes, faces, prices, self._cooling(heat, POINT_STEPS)).prices
        boxes = roots(terms, pool.loss)
        faces = self._relaxation.faces(boxes)
        heats = self._cooling(ROOT_HEAT * _mean_gain(faces), ROOT_STEPS)
        self._open = self._priced(boxes, faces, np.repeat(prices, len(faces.loss), axis=0), heats)
        self._try()

    @property
    def bound(self) -> float:
        """The least that any turn can lose."""
        return float(min(self._done, self._pool.floor, *self._open.floors))

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
        boxes = chosen.halves(self._pool.cut)
        lacking = np.tile(self._pool.cut - chosen.floors, 2)
        heats = self._cooling(HALF_HEAT * lacking, HALF_STEPS)
        prices = np.tile(chosen.prices, (2, 1))
        halves = self._priced(boxes, self._relaxation.faces(boxes), prices, heats)
        floors = np.maximum(halves.floors, np.tile(chosen.floors, 2))
        self._open = halves._replace(floors=floors)
        self._try()
        self._open = self._open.with_more(rest)
        return True

    def _cooling(self, heat: FloatArray, steps: int) -> FloatArray:
        """Temperatures by step and box, from those of the first step."""
        coldest = COLDEST * max(1.0, self._pool.loss)
        heats: FloatArray = np.maximum(coldest, heat * COOLING ** np.arange(steps)[:, None])
        return heats

    def _priced(self, boxes: Boxes, faces: Faces, prices: FloatArray, heats: FloatArray) -> _Open:
        """The boxes with better prices."""
        self.effort += len(faces.loss) * (len(heats) + 1)
        prices, bounds = raised(self._relaxation, faces, prices, heats, self._pool.cut)
        return _Open(boxes, faces.widths, prices, bounds, np.maximum(0.0, bounds.floor))

    def _try(self) -> None:
        """Try what the boxes name; close those with few run sets in doubt, by trying them all."""
        lot = self._open
        order = np.argsort(lot.floors, kind="stable")[:OFFERED]
        self._pool.offer(lot.bounds.runs(order[lot.floors[order] < self._pool.cut]))
        cut = self._pool.cut
        slack = cut - lot.bounds.corner
        size = np.abs(lot.bounds.gain)
        next_size = np.full(slack.shape, np.inf)
        if size.shape[2] > FLIPS:
            next_size = np.partition(size, FLIPS, axis=2)[:, :, FLIPS]
        few = ((next_size >= slack) | (slack <= 0)).all(axis=1) & (lot.floors < cut)
        if few.any():
            box, corner = np.nonzero(few[:, None] & (slack > 0))
            self._pool.offer(_flipped(lot.bounds.gain[box, corner], slack[box, corner]))
            self._done = min(self._done, cut)
            self._open = lot.take(np.flatnonzero(~few))


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

    def halves(self, cut: float) -> Boxes:
        """Both halves of every box, first all lower ones."""
        rows, widths = np.arange(len(self.floors)), self.widths.copy()
        widths[:, 2] *= self.prices[:, 3] * (self.boxes.last_group > self.boxes.first_group)
        doubt = np.abs(self.bounds.gain[rows, self.bounds.corner.argmin(axis=1)])
        settles = widths.max(axis=1) < NARROW * (cut - self.floors)
        settles &= np.isfinite(doubt).any(axis=1)
        side = np.where(settles, MEMBER, widths.argmax(axis=1))
        return self.boxes.halves(side, doubt.argmin(axis=1))


def _mean_gain(faces: Faces) -> FloatArray:
    """What a member matters, in tokens, by box."""
    mean: FloatArray = np.abs(faces.gain).mean(axis=(1, 2))
    return mean


def _flipped(gain: FloatArray, slack: FloatArray) -> BoolArray:
    """The run sets that lose less than the slack more than the best, of shape (sets, n)."""
    size = np.abs(gain)
    doubtful = np.argsort(size, axis=1, kind="stable")[:, :FLIPS]
    kinds = PATTERNS[: 2 ** doubtful.shape[1], : doubtful.shape[1]]
    lost = np.take_along_axis(size, doubtful, axis=1)
    lost = np.minimum(lost, 1e30) @ kinds.T
    corner, kind = np.nonzero(lost < slack[:, None])
    runs = gain[corner] < 0
    places = doubtful[corner]
    rows = np.arange(len(corner))[:, None]
    runs[rows, places] ^= kinds[kind]
    found: BoolArray = runs
    return found
