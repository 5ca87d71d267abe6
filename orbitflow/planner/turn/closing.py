"""The run sets that a box leaves: where they are few, trying them all closes it.

A run set loses in a box at least, at the corner where that is least,

    corner_k + sum of |gain_kr| over the members r in which it differs from the corner's best

and has turns in it only if its compute, what crosses in the first pass, and what memory asks of
the link find room in the box's times. Members in doubt are those in which some run set below the
cut differs, so that every combination of them, ranked by sums, is all there is.
"""

from __future__ import annotations

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.boxes import MARGIN, Boxes
from orbitflow.planner.turn.question import Terms
from orbitflow.planner.turn.relaxed import Bounds

IN_DOUBT = 13  # members at most
LEFT = 3000  # run sets at most
PATTERNS = ((np.arange(2**IN_DOUBT)[:, None] >> np.arange(IN_DOUBT)) & 1).astype(np.float64)


class Closing:
    """Says of boxes of one question what they leave."""

    def __init__(self, terms: Terms) -> None:
        pages = terms.layers * (terms.pages + 1)
        self._terms = terms
        self._rows = np.array([terms.compute_s, terms.absent * terms.link_s, pages])
        freed = max(1 - terms.ring / terms.layers, 1 / terms.layers)
        hosts = terms.pages > 0
        rate = terms.link_s[hosts] / terms.pages[hosts]
        self._page_s = float(rate.min(initial=1e9)) / freed

    def in_doubt(self, bounds: Bounds, cut: float) -> BoolArray:
        """Who is in doubt in every box, shape (boxes, n)."""
        slack = np.maximum(cut - bounds.corner, 0.0)[:, :, None]
        doubt: BoolArray = np.any(np.abs(bounds.gain) < slack, axis=1)
        runs, counts = bounds.gain < 0, slack > 0
        doubt |= np.any(runs & counts, axis=1) & np.any(~runs & counts, axis=1)
        return doubt

    def left(
        self, boxes: Boxes, bounds: Bounds, row: int, doubt: BoolArray, cut: float
    ) -> BoolArray | None:
        """The run sets that a box leaves, shape (sets, n); None if they are many."""
        members = np.flatnonzero(doubt)
        if len(members) > IN_DOUBT:
            return None
        slack = cut - bounds.corner[row]
        gain = bounds.gain[row, slack > 0]
        slack = slack[slack > 0]
        kinds = PATTERNS[: 2 ** len(members), : len(members)]
        change = gain[:, members]
        lost = kinds @ change.T - np.minimum(change, 0.0).sum(axis=1)
        found = np.flatnonzero((lost < slack).any(axis=1))
        base = (gain[0] < 0) & ~doubt
        found = found[self._finds_room(boxes, row, base, members, kinds[found])]
        if len(found) > LEFT:
            return None
        runs: BoolArray = np.repeat(base[None, :], len(found), axis=0)
        runs[:, members] = kinds[found] > 0
        return runs

    def _finds_room(
        self, boxes: Boxes, row: int, base: BoolArray, members: IntArray, kinds: FloatArray
    ) -> BoolArray:
        """Which of some run sets could have a turn in a box."""
        terms = self._terms
        pass_s = float(boxes.high_pass_s[row]) * (1 + MARGIN)
        first_s = pass_s + float(boxes.high_more_s[row]) * (1 + MARGIN)
        compute_s, crossing_s, pages = (self._rows[:, members] @ kinds.T) + (self._rows @ base)[
            :, None
        ]
        room: BoolArray = terms.base_s + compute_s <= pass_s
        room &= crossing_s <= first_s
        room &= np.maximum(pages - terms.gpu_pages, 0.0) * self._page_s <= pass_s
        return room
