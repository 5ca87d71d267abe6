"""The best plan so far, the run sets tried against it, and what none of them can beat."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.planner.branch import Branch
from orbitflow.planner.hosting import Need, complete, least, need
from orbitflow.planner.problem import REST, BoolArray, Terms
from orbitflow.planner.score import GRAIN, TIE, Score, Scores, grains, score_all


@dataclass(frozen=True)
class PlanningOptions:
    """How hard to look. Effort is counted, never timed: the same problem has the same answer."""

    tolerance: float = 0.0025  # share of max(loss, 1 token) that is not worth looking for
    every_set: int = 12  # candidates that may rest, up to whom all run sets are tried
    lot: int = 32  # run sets that get options at once
    branching: int = 40_000  # candidates that the depth-first search looks at, in all its branches
    set_branching: int = 16_000  # in those of one run set
    polishing: int = 12_000  # in all, where not all run sets are tried
    polished: int = 6  # run sets that it is given there
    polished_of_many: int = 1  # the same where the core of the local search is not all candidates
    steps: int = 20  # of the local search, at most
    aside: int = 6  # of which make nothing better
    aside_of_many: int = 1  # the same where the core is not all candidates
    kept: int = 12  # plans of one step that a later one may begin from


DEFAULT = PlanningOptions()


class Pool:
    """Keeps the best plan of the run sets offered; `bound` is what none of these loses less than,
    -inf where too little was tried.
    """

    def __init__(self, terms: Terms, options: PlanningOptions) -> None:
        self._terms, self._options = terms, options
        self.best: tuple[int, ...] | None = None
        self.score: Score | None = None
        self._branching = options.branching
        self._starts: list[tuple[float, int, tuple[int, ...], Score]] = []  # a heap
        self._made: list[tuple[float, int, tuple[int, ...]]] = []  # all that were in it
        self._known: set[bytes] = set()  # their run sets
        self._open: list[tuple[float, int, BoolArray]] = []  # run sets by their bounds

    @property
    def loss(self) -> float:
        """What the best plan loses; infinite if there is none."""
        return np.inf if self.score is None else self.score.loss

    @property
    def cut(self) -> float:
        """What loses more is not worth looking for."""
        if self.score is None:
            return np.inf
        return self.loss - self._options.tolerance * max(1.0, self.loss)

    def offer(self, runs: BoolArray, *, lots: int | None = None) -> None:
        """Bound run sets of shape (sets, n), and give options to those with the lowest bounds
        first, to at most so many lots of them.
        """
        asked = need(self._terms, runs)
        lows = least(self._terms, runs, asked)
        order = np.argsort(grains(lows), kind="stable")
        lot = self._options.lot
        for begin in range(0, len(order), lot)[:lots]:
            rows = order[begin : begin + lot]
            rows = rows[lows[rows] < self.cut]
            if not len(rows):
                break
            some = Need(asked.pages[rows], asked.largest[rows], asked.fits[rows])
            plans = complete(self._terms, runs[rows], some)
            self._keep(plans, score_all(self._terms, plans))
        for row in order[lows[order] < self.cut].tolist():
            low = float(grains(lows[row])) * GRAIN
            self._open.append((low, len(self._open), runs[row]))

    def next_start(self) -> tuple[tuple[int, ...], Score] | None:
        """The best plan kept that was not asked for before."""
        return heappop(self._starts)[2:] if self._starts else None

    def prove(self) -> float:
        """Search the run sets that could still be better depth first, the lowest bounds first. What
        none of all those offered loses less than.
        """
        bound = np.inf
        for low, _, runs in sorted(self._open, key=lambda one: one[:2]):
            if low >= min(self.cut, bound):
                break
            bound = min(bound, max(low, self._branch(runs)))
        return min(bound, self.cut)

    def polish(self, most: int) -> None:
        """Search the run sets of the best plans depth first, at most so many of them."""
        self._branching = self._options.polishing
        for _, _, plan in sorted(self._made)[:most]:
            self._branch(np.array(plan) != REST)

    def _branch(self, runs: BoolArray) -> float:
        steps = min(self._branching, self._options.set_branching)
        if steps <= 0:
            return -np.inf
        found = Branch(self._terms, runs, self.loss, self._options.tolerance, steps).solve()
        self._branching -= found.steps
        if found.plan is not None:
            self.best = found.plan
            self.score = score_all(self._terms, np.array([found.plan])).at(0)
        return found.bound

    def _keep(self, plans: IntArray, scores: Scores) -> None:
        at = scores.best()
        if at is None:
            return
        if self.score is None or scores.loss[at] < self.loss - TIE * max(1.0, abs(self.loss)):
            self.best, self.score = tuple(plans[at].tolist()), scores.at(at)
        losses = grains(np.where(scores.fits, scores.loss, np.inf))
        for row in np.argsort(losses, kind="stable")[: self._options.kept].tolist():
            key = (plans[row] != REST).tobytes()
            if scores.fits[row] and key not in self._known:
                self._known.add(key)
                start = float(losses[row]), len(self._made), tuple(plans[row].tolist())
                self._made.append(start)
                heappush(self._starts, (*start, scores.at(row)))
