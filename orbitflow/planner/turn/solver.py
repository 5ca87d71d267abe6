"""The turn solver: a good turn at once, and how much better any other could be.

Few members: every run set is tried. Many: greedy run sets first, then branch and bound over boxes
of times (`search`), whose corners name the run sets worth trying (`pool`). Given who runs, who
holds what on the host is all but a fractional knapsack (`stream`).

Deterministic: effort is a count of evaluations, never a clock. If it runs out, the best turn so far
comes with the gap that is left.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.planner.turn.pool import Pool
from orbitflow.planner.turn.question import BoolArray, Question, Terms, Turn
from orbitflow.planner.turn.search import close
from orbitflow.planner.turn.worth import Worth, lateness, worth

FEW = 10  # members of whom every run set is tried
FINE, COARSE = 0.01, 0.018  # of max(J, one token): what is not worth looking for,
SEVERAL = 16  # up to so many members, and beyond
EFFORT = 3_000  # boxes of times that may be bounded
GREEDY_TIMES = 4  # pass times at which the greedy order is asked
GREEDY_SIZES = 16  # numbers of members that are tried of each order


class Solved(NamedTuple):
    """A turn that fits, what it is worth, and the least that any turn can lose."""

    turn: Turn
    worth: Worth
    bound: float

    @property
    def gap(self) -> float:
        """Share of its loss (of a token, if that is more) that a better turn could save at most."""
        return (self.worth.loss - self.bound) / max(self.worth.loss, 1.0)


def solve(
    question: Question, *, tolerance: float | None = None, effort: int = EFFORT
) -> Solved | None:
    """The best turn found; None if no turn fits."""
    terms = question.terms
    count = len(terms.pages)
    if not count:
        return _solved(question, Turn(()), 0.0)
    if tolerance is None:
        tolerance = FINE if count <= SEVERAL else COARSE
    pool = Pool(terms, tolerance)
    if count <= FEW:
        pool.offer(_all_sets(count))
        pool.refine()
        bound = pool.floor
    else:
        pool.offer(_greedy(terms))
        if pool.best is None:
            pool.offer(_fewest(terms))
        if pool.best is None:
            return None
        bound = close(terms, pool, effort)
        pool.refine()
    if pool.best is None:
        return None
    return _solved(question, Turn(tuple(pool.best.tolist())), max(0.0, bound))


def _solved(question: Question, turn: Turn, bound: float) -> Solved:
    found = worth(question, turn)
    assert found is not None, "the pool keeps only turns that fit"
    return Solved(turn, found, min(bound, found.loss))


def _all_sets(count: int) -> BoolArray:
    """Every run set, shape (2^count - 1, count)."""
    numbers = np.arange(1, 2**count)
    runs: BoolArray = (numbers[:, None] >> np.arange(count)) & 1 == 1
    return runs


def _fewest(terms: Terms) -> BoolArray:
    """Who must run; if nobody must, each alone. If none of these fits, nothing does."""
    if terms.must_run.any():
        return terms.must_run[None, :]
    runs: BoolArray = np.eye(len(terms.pages), dtype=np.bool_)
    return runs


def _greedy(terms: Terms) -> BoolArray:
    """Run sets that take in, at some pass time, who gains most for its compute and memory."""
    count = len(terms.pages)
    everybody = terms.base_s + terms.compute_s.sum()
    longest = max(everybody, float(terms.layers * terms.link_s.sum()))
    pass_s = np.geomspace(terms.base_s + terms.compute_s.min(), longest, GREEDY_TIMES)
    both = np.array([[True], [False]]) & np.ones(count, dtype=np.bool_)
    size = terms.compute_s / terms.compute_s.sum() + (terms.pages + 1) / (terms.pages + 1).sum()
    most = np.unique(np.linspace(0, count - 1, min(count, GREEDY_SIZES)).astype(np.int64))
    sets = []
    for time in pass_s.tolist():
        first, span = np.full(2, time), np.full(2, terms.passes * time)
        late = lateness(terms, both, first, span)
        gain = (late[1] - late[0]) * terms.weight + terms.passes * terms.value
        order = np.argsort(np.where(terms.must_run, -np.inf, -gain / size), kind="stable")
        rank = np.empty(count, dtype=np.int64)
        rank[order] = np.arange(count)
        sets.append(rank[None, :] <= most[:, None])
    found: BoolArray = np.concatenate(sets)
    return found
