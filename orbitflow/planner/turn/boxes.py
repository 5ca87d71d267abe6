"""Boxes of times: what the search halves until the question is easy in every one of them.

A turn's times are a point (T, D), D = T1 - T >= 0, and its largest group on the host a rank in the
ascending order of pages. A box is a range of each, and says who is settled to run or to rest: who
runs must find room in its T and T1, so

    a_r > T - base - sum a  or  absent_r x_r > T1 - sum absent x    over who must run: r rests
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.question import Terms
from orbitflow.planner.turn.worth import Worth

PASSES = 16  # ranges of T to begin with, of equal ratio
MORE = (0.2, 1.0)  # ends of ranges of D to begin with, as shares of the longest
MARGIN = 1e-9  # for rounding, as a share
MEMBER = 3  # the side along which a member is settled


class Boxes(NamedTuple):
    """Many boxes: ranges of shape (boxes,), and who is settled, (boxes, n).

    Groups are ranks, and -1 is that of nobody hosted.
    """

    low_pass_s: FloatArray
    high_pass_s: FloatArray
    low_more_s: FloatArray
    high_more_s: FloatArray
    first_group: IntArray
    last_group: IntArray
    must_run: BoolArray
    must_rest: BoolArray

    def take(self, rows: IntArray) -> Boxes:
        """Some of them."""
        fields: tuple[Any, ...] = self
        return Boxes(*(field[rows] for field in fields))

    def settled(self, terms: Terms) -> Boxes:
        """With those at rest whose own compute, or crossing on the link in the first pass, takes
        longer than the box allows beside who must run. Whoever must do both makes a box empty.
        """
        crossing_s = terms.absent * terms.link_s
        pass_s = self.high_pass_s * (1 + MARGIN)
        left_s = pass_s - terms.base_s - self.must_run @ terms.compute_s
        first_s = pass_s + self.high_more_s * (1 + MARGIN) - self.must_run @ crossing_s
        taken, crosses = (~self.must_run * terms.compute_s, ~self.must_run * crossing_s)
        never = (taken > left_s[:, None]) | (crosses > first_s[:, None])
        return self._replace(must_rest=self.must_rest | never)

    def halves(self, side: IntArray, member: IntArray, group: IntArray | None = None) -> Boxes:
        """Both halves of every box, first all lower ones, then all upper ones: of T, D or the rank
        (side 0, 1 or 2), or with one member running and at rest (MEMBER). Ranks are parted below
        that of a group, if it is given and inside.
        """
        middle_pass = (self.low_pass_s + self.high_pass_s) / 2
        middle_more = (self.low_more_s + self.high_more_s) / 2
        middle_group = np.where(self.first_group < 0, -1, (self.first_group + self.last_group) // 2)
        if group is not None:
            inside = (group > self.first_group) & (group <= self.last_group)
            middle_group = np.where(inside, group - 1, middle_group)
        settled = np.zeros_like(self.must_run)
        settled[np.arange(len(side)), member] = side == MEMBER
        lower = self._replace(
            high_pass_s=np.where(side == 0, middle_pass, self.high_pass_s),
            high_more_s=np.where(side == 1, middle_more, self.high_more_s),
            last_group=np.where(side == 2, middle_group, self.last_group),
            must_run=self.must_run | settled,
        )
        upper = self._replace(
            low_pass_s=np.where(side == 0, middle_pass, self.low_pass_s),
            low_more_s=np.where(side == 1, middle_more, self.low_more_s),
            first_group=np.where(side == 2, middle_group + 1, self.first_group),
            must_rest=self.must_rest | settled,
        )
        return Boxes(*(np.concatenate(pair) for pair in zip(lower, upper, strict=True)))


def point(terms: Terms, known: Worth, host_layers: IntArray) -> Boxes:
    """One box that is nothing but the times of one turn, of shape (n,)."""
    pass_s, more_s = np.array([known.pass_s]), np.array([known.first_pass_s - known.pass_s])
    largest = np.max(terms.pages * (host_layers > 0))
    hosts = bool((host_layers > 0).any())
    last = int(np.searchsorted(np.sort(terms.pages), largest, side="right")) - 1 if hosts else -1
    must_run = terms.must_run[None, :]
    return Boxes(
        *(pass_s, pass_s, more_s, more_s, np.array([min(last, 0)]), np.array([last])),
        *(must_run, np.zeros_like(must_run)),
    )


def roots(terms: Terms, loss: float) -> Boxes:
    """Boxes that hold every turn worth having that loses less.

    T is at least its floor and the compute of whoever must run, and J < loss bounds the span, as
    nobody is less than not late. What nobody has absent is on the GPU or streamed: then T1 = T.
    """
    forced = float(terms.compute_s[terms.must_run].sum())
    low = max(terms.base_s + max(forced, float(terms.compute_s.min())), terms.floor_s)
    link_s = float(terms.layers * terms.link_s.sum())
    compute_s = terms.base_s + float(terms.compute_s.sum()) + terms.slowdown * link_s
    high = max(compute_s, link_s)
    more = max(0.0, link_s - low) if terms.absent.any() else 0.0
    if terms.price > 0:
        span = (loss + terms.passes * float(terms.value.sum())) / terms.price
        high = min(high, span / terms.passes)
        more = min(more, max(0.0, span - terms.passes * low))
    low, high = low * (1 - MARGIN), max(low, high) * (1 + MARGIN)
    passes = low * (high / low) ** (np.arange(PASSES + 1) / PASSES)
    deep = np.array([0.0, *(share * more for share in MORE)]) if more else np.zeros(2)
    ranges = len(deep) - 1
    i, j = np.repeat(np.arange(PASSES), ranges), np.tile(np.arange(ranges), PASSES)
    first, last = _groups(terms)
    must_run = np.repeat(terms.must_run[None, :], len(i), axis=0)
    return Boxes(
        *(passes[i], passes[i + 1], deep[j], deep[j + 1]),
        *(np.full(len(i), first), np.full(len(i), last)),
        *(must_run, np.zeros_like(must_run)),
    )


def _groups(terms: Terms) -> tuple[int, int]:
    """Ranks of the largest group: nobody's where all fits; without a ring they do not matter."""
    count = len(terms.pages)
    if terms.layers * float((terms.pages + 1).sum()) <= terms.gpu_pages:
        return -1, -1
    return -1 if terms.ring else 0, count - 1
