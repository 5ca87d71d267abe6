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

from orbitflow.planner.hosting import levels_of, page_price, spread_pages
from orbitflow.planner.problem import REST, BoolArray, Terms
from orbitflow.planner.score import ROUNDING, grains, rounded


class Branched(NamedTuple):
    """The best plan below the cut, if there are any, and what none of all loses less than."""

    plan: tuple[int, ...] | None
    bound: float
    steps: int


class _Row(NamedTuple):
    """A candidate that may have layers on the host."""

    row: int
    pages: int
    link_s: float
    crossing: list[float]  # by option
    price: float
    absent_pages: float


class _Group(NamedTuple):
    """Candidates that may have layers on the host, the pages that these must free, and by place
    what those from there on come to.
    """

    rows: list[_Row]
    pages: int
    first_s: float  # that others cross in the first pass
    room: list[int]  # pages that can be freed
    resting_s: list[float]  # that these cross in the first pass if none is hosted
    absent: list[float]  # pages that cross anyway
    price: list[float]  # the least of a page
    by_price: list[tuple[float, int, int]]  # price, place and room


class Branch:
    """The search of one run set; `tolerance` is the share of max(loss, 1 token) not worth finding.

    `known` is what the best plan so far loses, `steps` how many candidates may be looked at, in
    all branches.
    """

    def __init__(
        self, terms: Terms, runs: BoolArray, known: float, tolerance: float, steps: int
    ) -> None:
        self._terms, self._tolerance, self._left = terms, tolerance, steps
        self._runs = runs
        levels = levels_of(terms)
        self._top, self._freed = levels.top, levels.freed.tolist()
        self._at_least, self._hosted = levels.at_least.tolist(), terms.hosted.tolist()
        self._prices = rounded(page_price(terms))
        self._loss = _Loss(terms, runs)
        self._lower(known)
        self._best: tuple[int, ...] | None = None
        self._steps = 0

    def solve(self) -> Branched:
        """Search by every size of the largest group that may be hosted, the lowest bound first; of
        the steps that are left each gets half.
        """
        lows = [(self._low(g, 0, g.pages, 0.0, g.first_s), g) for g in self._groups()]
        bound, before = inf, 0
        for low, group in sorted(
            lows, key=lambda one: (float(grains(np.array(one[0]))), one[1].pages)
        ):
            if low >= self._cut:
                break
            self._budget = before + max(1, (self._left - before) // 2)
            self._is_cut_short = False
            self._chosen = [0] * len(group.rows)
            self._descend(group, 0, group.pages, 0.0, group.first_s)
            if self._is_cut_short:
                bound = min(bound, low)
            before = self._steps
        return Branched(self._best, min(bound, self._cut), self._steps)

    def _groups(self) -> list[_Group]:
        terms, runs = self._terms, self._runs
        sized = runs & (terms.pages > 0)
        over = float(terms.layers * (runs @ (terms.pages + 1)) - terms.gpu_pages)
        if over <= 0:
            return [self._group([], np.zeros_like(runs), 0)]
        rows = self._rows(sized)
        if not terms.ring_spread:
            return [self._group(rows, sized, int(over))]
        found = []
        for largest in sorted(set(terms.pages[sized].tolist())):
            asked = float(spread_pages(terms, np.array(over), np.array(largest)))
            if asked < inf:
                hosts = sized & (terms.pages <= largest)
                some = [one for one in rows if one.pages <= largest]
                found.append(self._group(some, hosts, ceil(asked - ROUNDING)))
        return found

    def _rows(self, hosts: BoolArray) -> list[_Row]:
        """Those that may be hosted, in the order in which they are decided."""
        terms, at = self._terms, np.flatnonzero(hosts)
        columns = (
            at,
            terms.pages[at],
            terms.link_s[at],
            terms.crossing[at],
            self._prices[at],
            (terms.absent * terms.pages)[at].astype(np.float64),
        )
        rows = [_Row(*figures) for figures in zip(*(c.tolist() for c in columns), strict=True)]
        rows.sort(key=lambda one: (not one.absent_pages, one.price, one.row))
        return rows

    def _group(self, rows: list[_Row], hosts: BoolArray, pages: int) -> _Group:
        terms = self._terms
        room, resting_s, absent, price = [0], [0.0], [0.0], [inf]
        for one in reversed(rows):
            room.append(room[-1] + self._top * one.pages)
            resting_s.append(resting_s[-1] + one.crossing[0] * one.link_s)
            absent.append(absent[-1] + one.absent_pages)
            price.append(min(price[-1], one.price))
        by_price = [(one.price, at, self._top * one.pages) for at, one in enumerate(rows)]
        first_s = float((terms.crossing[:, 0] * terms.link_s) @ (self._runs & ~hosts))
        several = (room[::-1], resting_s[::-1], absent[::-1], price[::-1])
        return _Group(rows, pages, first_s, *several, sorted(by_price))

    def _low(self, group: _Group, at: int, pages: int, link_s: float, first_s: float) -> float:
        """A bound with these still to be freed by the candidates from `at` on."""
        if pages > group.room[at]:
            return inf
        first_s += group.resting_s[at]
        if pages > group.absent[at]:
            first_s += (pages - group.absent[at]) * group.price[at]
        left = pages
        for price, place, room in group.by_price:
            if place >= at:
                freed = min(left, room)
                link_s += freed * price
                left -= freed
                if not left:
                    break
        return self._loss.at(link_s, max(link_s, first_s))

    def _descend(self, group: _Group, at: int, pages: int, link_s: float, first_s: float) -> None:
        if pages <= 0:
            loss = self._loss.at(link_s, first_s + group.resting_s[at])
            if loss < self._cut:
                self._lower(loss)
                self._keep(group, at)
            return
        if self._steps >= self._budget:
            self._is_cut_short = True
            return
        self._steps += len(group.rows)
        if self._low(group, at, pages, link_s, first_s) >= self._cut:
            return
        one = group.rows[at]
        deepest = self._at_least[min(ceil(pages / one.pages), self._top)]
        rest = max(0, pages - group.room[at + 1])
        for option in range(deepest, self._at_least[ceil(rest / one.pages)] - 1, -1):
            if option and not self._freed[option]:
                continue
            self._chosen[at] = option
            self._descend(
                group,
                at + 1,
                pages - self._freed[option] * one.pages,
                link_s + self._hosted[option] * one.link_s,
                first_s + one.crossing[option] * one.link_s,
            )

    def _lower(self, loss: float) -> None:
        """Only what loses less than this by more than the tolerance is worth finding."""
        self._cut = loss if loss == inf else loss - self._tolerance * max(1.0, loss)

    def _keep(self, group: _Group, at: int) -> None:
        options = np.where(self._runs, 0, REST).tolist()
        for one, option in zip(group.rows[:at], self._chosen, strict=False):
            options[one.row] = option
        self._best = tuple(options)


def _order(one: tuple[float, _Group]) -> tuple[float, int]:
    """By bound, and by the pages to be freed where bounds are equal but for rounding."""
    return float(grains(np.array(one[0]))), one[1].pages


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
        resting = (terms.weight, terms.rate, terms.rests)
        self._resters = list(zip(*(c[some].tolist() for c in resting), strict=True))

    def at(self, link_s: float, first_link_s: float) -> float:
        terms, weights = self._terms, self._terms.weights
        pass_s = self._compute_s + terms.slowdown * link_s + max(0.0, link_s - self._behind_s)
        pass_s = max(pass_s, link_s, weights.least_pass_s)
        first_s = max(pass_s, first_link_s)
        more = terms.passes - 1
        span_s = first_s + more * pass_s
        loss = self._fixed + weights.second * span_s
        for weight, rate, first, runs in self._runners:
            late = max(first_s * rate + first, span_s * rate + runs)
            if late > 0:
                loss += weight * late
        for weight, rate, rests in self._resters:
            late = span_s * rate + rests
            if late > 0:
                loss += weight * late
        return loss
