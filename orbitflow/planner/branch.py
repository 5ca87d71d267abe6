"""The options of one run set, depth first: the least loss, or a proof that it is not below a cut.

Candidates are taken in order of their price of a freed page, those first who are absent; every
option of one opens a branch, deepest first. What is still to be freed takes at least the link
seconds of the cheapest that remain, and with that the loss is bounded (`problem`: it depends on X
and Y alone). Branches that cannot get below the cut are left out.
"""

from __future__ import annotations

from math import ceil, inf
from typing import NamedTuple

import numpy as np

from orbitflow.planner.hosting import ROUNDING, levels_of, page_price, spread_pages
from orbitflow.planner.problem import REST, BoolArray, Terms


class Branched(NamedTuple):
    """The best plan below the cut, if there are any, and what none of all loses less than."""

    plan: tuple[int, ...] | None
    bound: float
    nodes: int


class _Row(NamedTuple):
    """A candidate that may have layers on the host."""

    row: int
    pages: int
    link_s: float
    crossing: list[float]  # by option
    price: float
    absent_pages: float


class Branch:
    """The search of one run set; `tolerance` is the share of max(loss, 1 token) not worth finding.

    `known` is what the best plan so far loses, `nodes` how many may be opened.
    """

    def __init__(
        self, terms: Terms, runs: BoolArray, known: float, tolerance: float, nodes: int
    ) -> None:
        self._terms, self._tolerance, self._budget = terms, tolerance, nodes
        self._runs = runs
        self._levels = levels_of(terms)
        self._freed = self._levels.freed.tolist()
        self._at_least = self._levels.at_least.tolist()
        self._hosted = terms.hosted.tolist()
        self._loss = _Loss(terms, runs)
        self._lower(known)
        self._best: tuple[int, ...] | None = None
        self._prices = page_price(terms)
        self._nodes = 0

    def solve(self) -> Branched:
        """Search by every size of the largest group that may be hosted."""
        bound = inf
        for hosts, pages in self._groups():
            bound = min(bound, self._search(hosts, pages))
        return Branched(self._best, min(bound, self._cut), self._nodes)

    def _groups(self) -> list[tuple[BoolArray, int]]:
        terms, runs = self._terms, self._runs
        over = float(terms.layers * (runs @ (terms.pages + 1)) - terms.gpu_pages)
        if not terms.ring_spread:
            return [(runs & (terms.pages > 0), max(0, int(over)))]
        if over <= 0:
            return [(np.zeros_like(runs), 0)]
        found = []
        for largest in sorted(set(terms.pages[runs & (terms.pages > 0)].tolist())):
            asked = float(spread_pages(terms, np.array(over), np.array(largest)))
            if asked < inf:
                hosts = runs & (terms.pages <= largest) & (terms.pages > 0)
                found.append((hosts, ceil(asked - ROUNDING)))
        return found

    def _search(self, hosts: BoolArray, pages: int) -> float:
        """Search one group; a bound of it."""
        terms = self._terms
        rows = [
            _Row(
                row,
                int(terms.pages[row]),
                float(terms.link_s[row]),
                terms.crossing[row].tolist(),
                float(self._prices[row]),
                float(terms.absent[row] * terms.pages[row]),
            )
            for row in np.flatnonzero(hosts).tolist()
        ]
        self._rows = sorted(rows, key=lambda one: (not one.absent_pages, one.price, one.row))
        count = len(rows)
        self._room, self._resting_s = [0] * (count + 1), [0.0] * (count + 1)
        self._absent, self._price = [0.0] * (count + 1), [inf] * (count + 1)
        for at in reversed(range(count)):
            one = self._rows[at]
            self._room[at] = self._room[at + 1] + self._levels.top * one.pages
            self._resting_s[at] = self._resting_s[at + 1] + one.crossing[0] * one.link_s
            self._absent[at] = self._absent[at + 1] + one.absent_pages
            self._price[at] = min(self._price[at + 1], one.price)
        self._by_price = sorted(
            (one.price, at, self._levels.top * one.pages) for at, one in enumerate(self._rows)
        )
        others = self._runs & ~hosts
        first_s = float((terms.crossing[:, 0] * terms.link_s) @ others)
        self._chosen = [0] * count
        self._is_cut_short = False
        low = self._low(0, pages, 0.0, first_s)
        self._descend(0, pages, 0.0, first_s)
        return min(low, self._cut) if self._is_cut_short else self._cut

    def _low(self, at: int, pages: int, link_s: float, first_s: float) -> float:
        """A bound with these still to be freed by the candidates from `at` on."""
        if pages > self._room[at]:
            return inf
        first_s += self._resting_s[at] + max(0.0, pages - self._absent[at]) * self._price[at]
        left = float(pages)
        for price, place, room in self._by_price:
            if place >= at:
                freed = min(left, room)
                link_s += freed * price
                left -= freed
                if not left:
                    break
        return self._loss.at(link_s, max(link_s, first_s))

    def _descend(self, at: int, pages: int, link_s: float, first_s: float) -> None:
        if pages <= 0:
            loss = self._loss.at(link_s, first_s + self._resting_s[at])
            if loss < self._cut:
                self._lower(loss)
                self._keep(at)
            return
        if self._nodes >= self._budget:
            self._is_cut_short = True
            return
        self._nodes += 1
        if self._low(at, pages, link_s, first_s) >= self._cut:
            return
        one, top = self._rows[at], self._levels.top
        deepest = self._at_least[min(ceil(pages / one.pages), top)]
        rest = max(0, pages - self._room[at + 1])
        for option in range(deepest, self._at_least[ceil(rest / one.pages)] - 1, -1):
            if option and not self._freed[option]:
                continue
            self._chosen[at] = option
            self._descend(
                at + 1,
                pages - self._freed[option] * one.pages,
                link_s + self._hosted[option] * one.link_s,
                first_s + one.crossing[option] * one.link_s,
            )

    def _lower(self, loss: float) -> None:
        """Only what loses less than this by more than the tolerance is worth finding."""
        self._cut = loss if loss == inf else loss - self._tolerance * max(1.0, loss)

    def _keep(self, at: int) -> None:
        options = np.where(self._runs, 0, REST).tolist()
        for one, option in zip(self._rows[:at], self._chosen, strict=False):
            options[one.row] = option
        self._best = tuple(options)


class _Loss:
    """The loss of one run set by X and Y, in plain numbers."""

    def __init__(self, terms: Terms, runs: BoolArray) -> None:
        self._terms = terms
        self._compute_s = terms.base_s + float(runs @ terms.compute_s)
        self._fixed = float(~runs @ terms.forgone) - terms.weights.offset
        behind_s = max(0.0, self._compute_s - terms.outside_s) * (1 - 1 / terms.layers)
        self._behind_s = behind_s if terms.restarts else inf
        counted = np.isfinite(terms.first) & (terms.weight > 0)
        columns = (terms.weight, terms.rate, terms.first, terms.runs)
        some = counted & runs
        self._runners = list(zip(*(c[some].tolist() for c in columns), strict=True))
        some = counted & ~runs
        columns = (terms.weight, terms.rate, terms.rests)
        self._resters = list(zip(*(c[some].tolist() for c in columns), strict=True))

    def at(self, link_s: float, first_link_s: float) -> float:
        terms, weights = self._terms, self._terms.weights
        pass_s = self._compute_s + terms.slowdown * link_s + max(0.0, link_s - self._behind_s)
        pass_s = max(pass_s, link_s, weights.least_pass_s)
        first_s = max(pass_s, first_link_s)
        more = terms.passes - 1
        span_s = first_s + more * pass_s
        loss = self._fixed + weights.second * span_s
        loss += weights.link_second * (first_link_s + more * link_s)
        for weight, rate, first, runs in self._runners:
            late = max(first_s * rate + first, span_s * rate + runs)
            if late > 0:
                loss += weight * late
        for weight, rate, rests in self._resters:
            late = span_s * rate + rests
            if late > 0:
                loss += weight * late
        return loss
