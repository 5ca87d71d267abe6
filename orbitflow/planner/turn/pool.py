"""The run sets tried so far, the best turn among them, and what none of them can beat.

What a run set loses at least is first said by fractions of host layers (`stream`), for many at
once. Those that could still beat the best turn wait, the most hopeful ones are made into turns with
whole layers (`whole`), and with that comes a better bound.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np

from orbitflow.planner.turn.question import REST, BoolArray, Terms
from orbitflow.planner.turn.stream import least
from orbitflow.planner.turn.whole import whole
from orbitflow.planner.turn.worth import TIE, Worth, least_of, ranked, worth_all
from orbitflow.step import IntArray

SEVERAL = 16  # members, up to which more is worth looking for
GRAINS = 2.0**24  # to a token, of what is the same loss
AIM = 0.005  # of max(J, one token): what is worth making a turn for
MADE = 1  # run sets that are made into turns, of those that are offered at once


class Pool:
    """Grows by run sets; `floor` is the least that any turn with one of them can lose."""

    def __init__(self, terms: Terms, tolerance: float) -> None:
        self._terms, self._tolerance = terms, tolerance
        self._seen: set[bytes] = set()
        self._hopeful: list[tuple[float, int, BoolArray]] = []  # a heap, of what they lose at least
        self._doubtful: list[tuple[float, BoolArray]] = []  # made, but not bounded well
        self._starts: list[
            tuple[float, int, IntArray, Worth]
        ] = []  # a heap: no climb was there yet
        self._least = float("inf")  # of those that are not in it
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

    @property
    def floor(self) -> float:
        """The least that any turn with a run set that was tried can lose."""
        waiting = min((low for low, _ in self._doubtful), default=self._least)
        return min(self._least, waiting, *(low for low, *_ in self._hopeful[:1]))

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
        self._least = min(self._least, float(losses.min(where=~waits, initial=np.inf)))
        rows = np.flatnonzero(waits)
        for row in rows[ranked(losses[rows])].tolist():
            self.tried += 1
            heappush(self._hopeful, (_key(float(losses[row])), self.tried, fresh[row]))
        self.make(MADE)

    def make(self, most: int, *, to_prove: bool = False) -> None:
        """Make turns of so many run sets that could still be worth having, or of those only that
        stand in the way of a proof.
        """
        if to_prove:
            for bound, runs in self._doubtful:
                self.tried += 1
                heappush(self._hopeful, (_key(bound), self.tried, runs))
            self._doubtful = []
        goal = self.cut if to_prove else self.aim
        for _ in range(most):
            if not self._hopeful or self._hopeful[0][0] >= goal:
                break
            low, _, runs = heappop(self._hopeful)
            made = whole(self._terms, runs, goal, to_prove=to_prove)
            bound = max(low, made.bound)
            self._keep(made.turns)
            if bound < self.cut and not to_prove:
                self._doubtful.append((bound, runs))
            else:
                self._least = min(self._least, bound)

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

    def _keep(self, turns: IntArray) -> None:
        """The best of turns of shape (k, n), if it is better."""
        worths = worth_all(self._terms, turns)
        at = worths.best()
        if at is not None:
            start = (_key(float(worths.loss[at])), self.tried, turns[at], worths.at(at))
            heappush(self._starts, start)
            self.tried += 1
        if at is not None and self._is_better(worths.loss[at]):
            self.best, self.worth = turns[at], worths.at(at)
            self.loss = self.worth.loss


def _key(low: float) -> float:
    """A little less, the same for losses that differ by rounding."""
    return (round(low * GRAINS) - 1) / GRAINS
