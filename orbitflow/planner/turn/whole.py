"""One run set with whole layers on the host: the best turns, and what none of them can lose less
than.

J grows with the link seconds X of a pass and Y of the first. For every largest group g that the
host may hold, those of at most g pages hold P(g) of them, and exact covers (`cover`) say

    X >= min X,    Y >= min Y,    Y + w X >= min (Y + w X)    for any w

so that J is at least its least value on the border of what these leave. Each w is that of the chord
between the turns found on both sides of the border's best place, until one meets the bound or they
are neighbours on the hull. Groups are tried in the order of what they lose with fractions of
layers, until that is more than a turn loses that was found, or than is worth looking for.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.cover import Cover, cover
from orbitflow.planner.turn.question import REST, Terms
from orbitflow.planner.turn.stream import group_pages, least_with, need
from orbitflow.planner.turn.worth import ROUNDING, TIE, least_of, ranked, times_all

GROUPS, MOST_GROUPS = 1, 64  # that are tried, and where a proof is asked for
CHORDS, MOST_CHORDS = 2, 8  # that are tried for each
PIECES, CUT, FINER = 16, 4, 3  # of the border, into how many they are cut, and how often
FREE = 1e-9  # price of a link second that costs nothing, so that none is wasted


class Whole(NamedTuple):
    """Turns of one run set, shape (k, n), and what none of all its turns loses less than."""

    turns: IntArray
    bound: float


def whole(terms: Terms, runs: BoolArray, cut: float, *, to_prove: bool = False) -> Whole:
    """Turns of a run set of shape (n,) that fits, but not without the host; of what loses more than
    the cut the bound need not say how much.
    """
    asked = need(terms, runs[None, :])
    smallest = float(asked.largest[0])
    groups = np.array(sorted(set(terms.pages[runs & (terms.pages >= smallest)].tolist())))
    if not terms.ring:
        groups = groups[-1:]
    hosts = runs & (terms.pages <= groups[:, None])
    pages = asked.pages[0] + (groups - smallest) * group_pages(terms)
    losses = least_with(terms, np.repeat(runs[None, :], len(groups), axis=0), hosts, pages)
    most_groups = MOST_GROUPS if to_prove else GROUPS
    turns, bound, best = [], np.inf, cut
    for tried, row in enumerate(ranked(losses).tolist()):
        if losses[row] >= min(bound, best) or tried == most_groups:
            bound = min(bound, float(losses[row]))
            break
        group = _Group(terms, runs, hosts[row], ceil(pages[row] - ROUNDING), best, to_prove)
        turns += [split.layers for split in group.splits]
        best, bound = min(best, group.loss), min(bound, max(group.bound, float(losses[row])))
    rows = np.array(turns, dtype=np.int64).reshape(-1, len(runs))
    return Whole(np.where(runs, rows, REST), bound)


class _Split(NamedTuple):
    """Layers on the host with their link seconds of a pass and of the first one."""

    layers: IntArray
    link_s: float
    first_link_s: float


class _Group:
    """Turns of one run set by those who may have layers on the host, and a bound of J; nothing more
    is looked for once the bound reaches the cut.
    """

    def __init__(
        self,
        terms: Terms,
        runs: BoolArray,
        hosts: BoolArray,
        pages: int,
        cut: float,
        to_prove: bool,
    ) -> None:
        self._terms, self._runs, self._pages, self._cut = terms, runs, pages, cut
        self._room = np.where(hosts, terms.layers, 0)
        self._absent = np.where(hosts, terms.absent, 0).astype(np.int64)
        self._sizes = terms.pages.astype(np.int64)
        self._here = terms.absent * runs
        self._crossing_s = float(self._here @ terms.link_s)
        self.splits: list[_Split] = []  # by X
        self.loss, self.bound = np.inf, -np.inf
        self._is_quick = not to_prove
        self._solve(MOST_CHORDS if to_prove else CHORDS)

    def _solve(self, chords: int) -> None:
        link_s, is_quick = self._terms.link_s, self._is_quick
        found = cover(self._room, self._sizes, link_s, self._pages, is_quick=is_quick)
        if found is None:
            self.bound = np.inf
            return
        self._add(found.layers)
        least_s, first_s = found.least, max(found.least, self._crossing_s)
        self.bound = float(self._losses(np.array([least_s]), np.array([first_s]))[0])
        if self._is_done():
            return
        found = self._cover(0.0)
        self._add(found.layers)
        first_s = max(first_s, found.least - FREE * float(self._room @ self._terms.link_s))
        lines = [(0.0, first_s)]  # w and what Y + w X is at least
        at_s = self._border(least_s, lines)
        for _ in range(chords):
            if self._is_done():
                return
            places = [split.link_s for split in self.splits]
            after = min(max(1, int(np.searchsorted(places, at_s, side="right"))), len(places) - 1)
            left, right = self.splits[after - 1], self.splits[after]
            fall_s, rise_s = left.first_link_s - right.first_link_s, right.link_s - left.link_s
            if fall_s <= 0 or rise_s <= 0 or any(w * rise_s == fall_s for w, _ in lines):
                return
            weight = fall_s / rise_s
            found = self._cover(weight)
            self._add(found.layers)
            lines.append((weight, found.least))
            at_s = self._border(least_s, lines)

    def _border(self, link_s: float, lines: list[tuple[float, float]]) -> float:
        """Bound J on the border, by J of the corners below its pieces, of which those that say too
        little are cut up; the X of the lowest.
        """
        last_s, (weights, sums) = self.splits[-1].link_s, np.array(lines).T
        ends_s = np.linspace(link_s, last_s, PIECES + 1)
        from_s, to_s = ends_s[:-1], ends_s[1:]
        goal = min(self._cut, self.loss)
        beyond = self._losses(np.array([last_s]), sums[:1])
        bound, lowest_s = float(beyond[0]), last_s
        finest = 0 if self._is_quick else FINER
        for finer in range(finest + 1):
            low_s = np.max(sums - weights * to_s[:, None], axis=1)
            losses = self._losses(from_s, low_s)
            is_low = losses < goal
            if finer == finest or not is_low.any() or is_low.sum() > PIECES:
                at = least_of(losses)
                if losses[at] < bound:
                    bound, lowest_s = float(losses.min()), float(from_s[at])
                break
            bound = min(bound, float(losses.min(where=~is_low, initial=np.inf)))
            ends_s = np.linspace(from_s[is_low], to_s[is_low], CUT + 1)
            from_s, to_s = ends_s[:-1].ravel(), ends_s[1:].ravel()
        self.bound = max(self.bound, bound)
        return lowest_s

    def _losses(self, link_s: FloatArray, first_link_s: FloatArray) -> FloatArray:
        """J at such link seconds."""
        runs = np.broadcast_to(self._runs, (len(link_s), len(self._runs)))
        losses: FloatArray = times_all(self._terms, runs, link_s, first_link_s).loss
        return losses

    def _is_done(self) -> bool:
        return self.bound >= min(self._cut, self.loss - TIE * max(1.0, self.loss))

    def _add(self, layers: IntArray) -> None:
        """A turn, and what it loses."""
        link_s = float(layers @ self._terms.link_s)
        first_s = float(np.maximum(layers, self._here) @ self._terms.link_s)
        times = times_all(self._terms, self._runs[None, :], np.array([link_s]), np.array([first_s]))
        self.loss = min(self.loss, float(times.loss[0]))
        self.splits.append(_Split(layers, link_s, first_s))
        self.splits.sort(key=lambda split: split.link_s)

    def _cover(self, weight: float) -> Cover:
        """The cover of least Y + w X, and that."""
        link_s = self._terms.link_s
        found = cover(
            np.concatenate([self._absent, self._room - self._absent]),
            np.tile(self._sizes, 2),
            np.concatenate([max(weight, FREE) * link_s, (weight + 1) * link_s]),
            self._pages,
            is_quick=self._is_quick,
        )
        assert found is not None, "there is room"
        layers = found.layers.reshape(2, -1).sum(axis=0)
        return Cover(layers, found.price, found.least + self._crossing_s)
