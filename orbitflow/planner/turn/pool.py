"""The run sets tried so far, the best turn among them, and what none of them can beat."""

from __future__ import annotations

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.planner.turn.question import BoolArray, Terms
from orbitflow.planner.turn.stream import exact, least, pared, spread
from orbitflow.planner.turn.worth import ROUNDING, worth_all
from orbitflow.step import IntArray

TRIED_AT_ONCE = 2  # run sets that are rounded together, the most promising first
TRIED = 8  # of the run sets that are offered at once
CLOSE = 0.1  # of max(J, one token): from how far off the best a turn is pared
PATIENCE = 6  # times that paring may gain nothing until it is left to `refine`
QUICK_GROUPS = (0, 2)  # ranks above the smallest largest group, at first
REFINED = 8  # run sets that are rounded in every way there is
PARED = 4  # of those ways


class Pool:
    """Grows by run sets; `floor` is the least that any turn with one of them can lose."""

    def __init__(self, terms: Terms, tolerance: float) -> None:
        self._terms, self._tolerance = terms, tolerance
        self._seen: set[bytes] = set()
        self._hopeful: list[tuple[float, BoolArray]] = []
        self._fruitless = 0  # times that paring gained nothing
        self.best: IntArray | None = None
        self.loss = float("inf")
        self.floor = float("inf")
        self.tried = 0

    @property
    def cut(self) -> float:
        """What is not worth looking for: anything above."""
        if np.isinf(self.loss):
            return self.loss
        return self.loss - self._tolerance * max(1.0, self.loss)

    def offer(self, runs: BoolArray) -> None:
        """Try run sets of shape (sets, n)."""
        fresh = self._fresh(runs)
        if not len(fresh):
            return
        self.tried += len(fresh)
        losses = least(self._terms, fresh).loss
        self.floor = min(self.floor, float(losses.min()))
        order = np.argsort(losses, kind="stable")
        hopeful = order[losses[order] < self.cut][:REFINED]
        self._hopeful += [(float(losses[row]), fresh[row]) for row in hopeful.tolist()]
        for start in range(0, TRIED if self._fruitless < PATIENCE else 1, TRIED_AT_ONCE):
            rows = order[start : start + TRIED_AT_ONCE]
            rows = rows[losses[rows] < (self.loss - ROUNDING if start == 0 else self.cut)]
            if not len(rows):
                break
            self._round(fresh[rows], losses[rows])

    def refine(self) -> None:
        """Round run sets that could still lose less in every way there is."""
        self._hopeful.sort(key=lambda hope: hope[0])
        for low, runs in self._hopeful[:REFINED]:
            if low >= self.cut:
                break
            turns = spread(self._terms, runs[None, :])[:, 0]
            worths = worth_all(self._terms, turns)
            _, first = np.unique(turns, axis=0, return_index=True)
            order = first[np.argsort(np.where(worths.fits, worths.loss, np.inf)[first])]
            for row in order[:PARED].tolist():
                self._keep(pared(self._terms, turns[row]))
            for turn in exact(self._terms, runs):
                self._keep(turn)

    def _fresh(self, runs: BoolArray) -> BoolArray:
        keys = np.packbits(runs, axis=1)
        rows = []
        for row, key in enumerate(map(bytes, keys)):
            if key not in self._seen:
                self._seen.add(key)
                rows.append(row)
        return runs[rows]

    def _round(self, runs: BoolArray, losses: FloatArray) -> None:
        """Make turns of run sets that lose at least so much, and keep the best."""
        turns = spread(self._terms, runs, QUICK_GROUPS)
        ways, sets, members = turns.shape
        worths = worth_all(self._terms, turns.reshape(-1, members))
        loss = np.where(worths.fits, worths.loss, np.inf).reshape(ways, sets)
        for at in np.argsort(loss.min(axis=0), kind="stable").tolist():
            way = int(loss[:, at].argmin())
            if loss[way, at] < self.loss:
                self._keep(turns[way, at])
            is_close = loss[way, at] < self.loss + CLOSE * max(1.0, self.loss)
            if losses[at] < self.cut and is_close and self._fruitless < PATIENCE:
                before = self.loss
                self._keep(pared(self._terms, turns[way, at]))
                self._fruitless = 0 if self.loss < before else self._fruitless + 1

    def _keep(self, turn: IntArray) -> None:
        worths = worth_all(self._terms, turn[None, :])
        if worths.fits[0] and worths.loss[0] < self.loss:
            self.best, self.loss = turn, float(worths.loss[0])
