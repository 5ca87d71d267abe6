"""The run sets tried so far, the best turn among them, and what none of them can beat.

What a run set loses at least is first said by fractions of host layers (`stream`), for many at
once. Those that could still beat the best turn wait, the most hopeful ones are made into turns with
whole layers (`whole`), and with that comes a better bound.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.border import least_by_range
from orbitflow.planner.turn.question import REST, Terms
from orbitflow.planner.turn.stream import least, least_by_group, rounded
from orbitflow.planner.turn.whole import whole
from orbitflow.planner.turn.worth import TIE, Worth, Worths, least_of, ranked, worth_all

SEVERAL = 16  # members, up to which more is worth looking for
GRAINS = 2.0**24  # to a token, of what is the same loss
AIM = 0.005  # of max(J, one token): what is worth making a turn for
ROUNDED = 64  # run sets whose turns are guessed, of those that are offered at once
MADE = 1  # run sets that are made into turns, of those that are offered at once


class _Waiting(NamedTuple):
    """A run set, what it loses at least, and about what its best turn will."""

    low: float
    promise: float
    runs: BoolArray


class Pool:
    """Grows by run sets; `floor` is the least that any turn with one of them can lose."""

    def __init__(self, terms: Terms, tolerance: float) -> None:
        self._terms, self._tolerance = terms, tolerance
        self._seen: set[bytes] = set()
        self._waiting: list[_Waiting] = []
        self._made: list[_Waiting] = []
        self._starts: list[
            tuple[float, int, IntArray, Worth]
        ] = []  # a heap: no climb was there yet
        self._least = float("inf")  # of all others
        self.best: IntArray | None = None
        self.worth: Worth | None = None  # of the best
        self.loss = float("inf")
        self.tried = 0

    @property
    def aim(self) -> float:
        """What a turn must lose less than to be worth having."""
        if np.isinf(self.loss):
            return self.loss
        return self.loss - AIM * max(1.0, self.loss)

    @property
    def cut(self) -> float:
        """What is not worth looking for: anything above."""
        if np.isinf(self.loss):
            return self.loss
        return self.loss - self._tolerance * max(1.0, self.loss)

    def settle_for(self, tolerance: float) -> None:
        """Look for nothing that is not worth so much."""
        self._tolerance = max(self._tolerance, tolerance)

    @property
    def floor(self) -> float:
        """The least that any turn with a run set that was tried can lose."""
        return min(self._least, *(one.low for one in (*self._waiting, *self._made)), np.inf)

    def offer(self, runs: BoolArray) -> None:
        """Try run sets of shape (sets, n)."""
        fresh = self._fresh(runs)
        if not len(fresh):
            return
        losses, is_met = least(self._terms, fresh)
        if is_met.any():
            first = least_of(np.where(is_met, losses, np.inf))
            if self._is_better(losses[first]):
                self._keep(np.where(fresh[first], 0, REST)[None, :])
        waits = ~is_met & (losses < self.aim)
        if self._terms.ring and waits.any():
            losses[waits] = least_by_group(self._terms, fresh[waits])
            waits &= losses < self.aim
        self._least = min(self._least, float(losses.min(where=~waits, initial=np.inf)))
        rows = np.flatnonzero(waits)
        if len(rows):
            rows = rows[ranked(losses[rows])]
            self._wait(losses[rows], fresh[rows])
        self.make(MADE)

    def _wait(self, lows: FloatArray, runs: BoolArray) -> None:
        """Have run sets wait that lose at least so much, the lowest first."""
        some = runs[:ROUNDED]
        worths = self._keep(rounded(self._terms, some))
        promises = np.where(worths.fits, worths.loss, np.inf).tolist()
        promises += [np.inf] * (len(runs) - len(some))
        for low, promise, row in zip(lows.tolist(), promises, runs, strict=True):
            self._waiting.append(_Waiting(_key(low), _key(promise), row))

    def make(self, most: int) -> None:
        """Make turns of so many run sets that could still be worth having, the most promising
        first.
        """
        for _ in range(most):
            goal = self.aim
            able = [at for at, one in enumerate(self._waiting) if one.low < goal]
            if not able:
                break
            at = min(able, key=lambda at: self._waiting[at].promise)
            one = self._waiting.pop(at)
            made = whole(self._terms, one.runs, goal)
            self._keep(made.turns)
            self._made.append(one._replace(low=max(one.low, made.bound)))

    def sharpen(self, bound: float) -> None:
        """Bound by fractions, but well, all those run sets that stand in the way of a proof where
        others have that bound.
        """
        cut = min(self.cut, bound)
        every = self._waiting + self._made
        low = [one for one in every if one.low < cut]
        if not low:
            return
        bounds = least_by_range(self._terms, np.array([one.runs for one in low]), cut)
        sharp = [
            one._replace(low=max(one.low, _key(bound)))
            for one, bound in zip(low, bounds.tolist(), strict=True)
        ]
        self._waiting, self._made = [], [one for one in every if not one.low < cut] + sharp

    def prove(self, most: int, bound: float = np.inf) -> None:
        """Bound those of so many run sets well that stand in the way of a proof, the worst first,
        where others have that bound; their turns may be better than the best.
        """
        open_ = sorted(self._waiting + self._made, key=lambda one: one.low)
        for tried, one in enumerate(open_):
            if one.low >= min(self.cut, bound) or tried == most:
                break
            made = whole(self._terms, one.runs, self.cut, to_prove=True)
            self._keep(made.turns)
            open_[tried] = one._replace(low=max(one.low, made.bound))
        self._waiting, self._made = [], open_

    def next_turn(self) -> tuple[IntArray, Worth] | None:
        """The best turn of those that no climb has begun from."""
        return heappop(self._starts)[2:] if self._starts else None

    def _fresh(self, runs: BoolArray) -> BoolArray:
        """Those that were not tried before."""
        packed = np.packbits(runs, axis=1)
        keys = packed.view(f"V{packed.shape[1]}").ravel().tolist()
        rows = {key: row for row, key in enumerate(keys) if key not in self._seen}
        self._seen.update(keys)
        return runs if len(rows) == len(runs) else runs[list(rows.values())]

    def _is_better(self, loss: float) -> bool:
        """Whether by more than rounding: of equal turns the first one is kept."""
        return bool(loss < self.loss - TIE * max(1.0, loss))

    def _keep(self, turns: IntArray) -> Worths:
        """The best of turns of shape (k, n), if it is better; what all of them are worth."""
        worths = worth_all(self._terms, turns)
        at = worths.best()
        if at is not None:
            start = (_key(float(worths.loss[at])), self.tried, turns[at], worths.at(at))
            heappush(self._starts, start)
            self.tried += 1
        if at is not None and self._is_better(worths.loss[at]):
            self.best, self.worth = turns[at], worths.at(at)
            self.loss = self.worth.loss
        return worths


def _key(low: float) -> float:
    """A little less, the same for losses that differ by rounding."""
    if np.isinf(low):
        return low
    return (round(low * GRAINS) - 1) / GRAINS
