"""The turn solver: a good turn at once, and how much better any other could be.

Few members: every run set is tried. Many: greedy run sets first and from the best of them uphill
(`climb`), then branch and bound over boxes of times (`search`), whose corners name the run sets
worth trying, until a box leaves so few that all are tried (`closing`). Run sets that could beat the
best turn wait (`pool`) by what fractions of host layers say of them (`stream`), and are made into
turns with whole layers, with a bound of their own (`whole`), by exact covers (`cover`).

Deterministic: effort is a count of evaluations, never a clock. If it runs out, the best turn so far
comes with the gap that is left. With none there is no search and, beyond FEW members, no bound but
that J is never negative.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray
from orbitflow.planner.turn.climb import climb
from orbitflow.planner.turn.pool import SEVERAL, Pool
from orbitflow.planner.turn.question import Question, Terms, Turn
from orbitflow.planner.turn.search import close
from orbitflow.planner.turn.worth import Worth, lateness, ranked, worth

MADE = 128  # run sets of few members that are made into turns
FEW = 10  # members of whom every run set is tried
# Of max(J, one token), not worth looking for: up to SEVERAL, and beyond or if it takes long
FINE, COARSE = 0.01, 0.0199
EFFORT = 2_000  # boxes of times that may be bounded, counted once for every step of their prices
GREEDY_TIMES = 4  # pass times at which the greedy order is asked
GREEDY_SHARES = (0.0, 0.5, 1.0)  # of its compute's price that a member is charged
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
        nothing = worth(question, Turn(()))
        return None if nothing is None else Solved(Turn(()), nothing, 0.0)
    coarse = 0.0 if tolerance is not None else COARSE
    if tolerance is None:
        tolerance = FINE if count <= SEVERAL else COARSE
    pool = Pool(terms, tolerance)
    if count <= FEW:
        pool.offer(_all_sets(count))
        pool.make(MADE)
        pool.prove(MADE)
        bound = pool.floor
    else:
        pool.offer(_greedy(terms))
        if pool.best is None:
            pool.offer(_fewest(terms))
        if pool.best is None:
            return None
        climb(terms, pool)
        bound = close(terms, pool, effort, coarse) if effort else 0.0
    if pool.best is None or pool.worth is None:
        return None
    turn = Turn(tuple(pool.best.tolist()))
    return Solved(turn, pool.worth, min(max(0.0, bound), pool.loss))


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
    """Run sets that take in, at some pass time, who gains most for its memory, once its compute is
    charged by some share, and its way in as if nothing else crossed.
    """
    count = len(terms.pages)
    low = terms.base_s + float(terms.compute_s.min())
    high = terms.base_s + float(terms.compute_s.sum())
    pass_s = low * (high / low) ** (np.arange(GREEDY_TIMES) / (GREEDY_TIMES - 1))
    everybody = np.ones((GREEDY_TIMES, count), dtype=np.bool_)
    runs = lateness(terms, everybody, pass_s, terms.passes * pass_s)
    rests = lateness(terms, ~everybody, pass_s, terms.passes * pass_s)
    gain = (rests - runs) * terms.weight + terms.passes * terms.value
    second = terms.price + (rests > 0) @ (terms.weight * terms.rate)
    gain = gain - second[:, None] * (terms.absent * terms.link_s)
    charged = terms.passes * second[:, None] * terms.compute_s
    gain = np.concatenate([gain - share * charged for share in GREEDY_SHARES])
    rate = np.where(terms.must_run, -np.inf, -gain / (terms.pages + 1))
    rank = np.argsort([ranked(row) for row in rate], axis=1, kind="stable")
    sizes = min(count, GREEDY_SIZES)
    most = np.arange(sizes) * (count - 1) // max(sizes - 1, 1)
    found: BoolArray = rank[:, None, :] <= most[:, None]
    return found.reshape(-1, count)
