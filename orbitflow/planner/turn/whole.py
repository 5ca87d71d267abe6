"""One run set with whole layers on the host: the best turns, and what none of them can lose less
than.

For every largest group g that the host may hold, those of at most g pages hold P(g) of them, and

    J >= J(min X, min Y, min (Y + w X))

with the exact minima over whole layers (`cover`), as J grows with the link seconds X of a pass and
Y of the first; w X is what X adds to the passes that follow. Without anything absent Y says nothing
and the bound is J of the turn found. Groups are tried in the order of what they lose with fractions
of layers, until that is more than a turn loses that was found, or than is worth looking for.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np

from orbitflow.planner.turn.cover import Cover, cover
from orbitflow.planner.turn.question import REST, BoolArray, Terms
from orbitflow.planner.turn.stream import group_pages, least_with, need
from orbitflow.planner.turn.worth import ROUNDING, ranked, times_all
from orbitflow.step import IntArray

MOST_GROUPS = 8  # that are tried
FREE = 1e-9  # price of a link second that costs nothing, so that none is wasted


class Whole(NamedTuple):
    """Turns of one run set, shape (k, n), and what none of all its turns loses less than."""

    turns: IntArray
    bound: float


def whole(terms: Terms, runs: BoolArray, cut: float) -> Whole:
    """Turns of a run set of shape (n,) that fits, but not without the host; of what loses more than
    the cut the bound need not say how much.
    """
    asked = need(terms, runs[None, :])
    smallest = float(asked.largest[0])
    groups = np.unique(terms.pages[runs & (terms.pages >= smallest)])
    if not terms.ring:
        groups = groups[-1:]
    hosts = runs & (terms.pages <= groups[:, None])
    pages = asked.pages[0] + (groups - smallest) * group_pages(terms)
    losses = least_with(terms, np.repeat(runs[None, :], len(groups), axis=0), hosts, pages)
    turns, bound = [], np.inf
    for tried, group in enumerate(ranked(losses).tolist()):
        if losses[group] >= min(bound, cut) or tried == MOST_GROUPS:
            bound = min(bound, float(losses[group]))
            break
        layers, least = _Group(terms, runs, hosts[group], ceil(pages[group] - ROUNDING)).solved()
        turns += layers
        bound = min(bound, least)
    rows = np.array(turns, dtype=np.int64).reshape(-1, len(runs))
    return Whole(np.where(runs, rows, REST), bound)


class _Group:
    """Covers of one run set by those who may have layers on the host."""

    def __init__(self, terms: Terms, runs: BoolArray, hosts: BoolArray, pages: int) -> None:
        self._terms, self._runs, self._pages = terms, runs, pages
        self._room = np.where(hosts, terms.layers, 0)
        self._absent = np.where(hosts, terms.absent, 0).astype(np.int64)
        self._sizes = terms.pages.astype(np.int64)
        self._crossing_s = float((terms.absent * terms.link_s) @ runs)

    def solved(self) -> tuple[list[IntArray], float]:
        """Host layers of the best covers, and a bound of J."""
        terms, more = self._terms, self._terms.passes - 1.0
        passes = cover(self._room, self._sizes, terms.link_s, self._pages)
        if passes is None:
            return [], np.inf
        turns, link_s, crossing_s = [passes.layers], passes.least, self._crossing_s
        first_link_s = float(np.maximum(passes.layers, terms.absent * self._runs) @ terms.link_s)
        compute_s = terms.base_s + float(terms.compute_s @ self._runs)
        pass_s = max(compute_s + terms.slowdown * link_s, link_s)
        if not crossing_s or first_link_s <= pass_s:
            return turns, self._loss(link_s, link_s, 0.0)
        first = self._split(FREE)
        turns.append(first.layers)
        first_s = crossing_s + first.least - FREE * float(self._room @ terms.link_s)
        span_s = 0.0
        for weight, fixed_s in ((more, 0.0), (more * terms.slowdown, more * compute_s)):
            if weight:
                both = self._split(weight)
                turns.append(both.layers)
                span_s = max(span_s, fixed_s + crossing_s + both.least)
        return turns, self._loss(link_s, first_s, span_s)

    def _split(self, weight: float) -> Cover:
        """The cover where a link second costs so much, and 1 more where it crosses in the first
        pass for that only.
        """
        x = self._terms.link_s
        found = cover(
            np.concatenate([self._absent, self._room - self._absent]),
            np.tile(self._sizes, 2),
            np.concatenate([weight * x, (weight + 1) * x]),
            self._pages,
        )
        assert found is not None, "there is room"
        layers = found.layers.reshape(2, -1).sum(axis=0)
        return found._replace(layers=layers)

    def _loss(self, link_s: float, first_link_s: float, span_s: float) -> float:
        """J at such link seconds of a pass and of the first one, and no shorter window."""
        some = (np.array([seconds]) for seconds in (link_s, first_link_s, span_s))
        return float(times_all(self._terms, self._runs[None, :], *some).loss[0])
