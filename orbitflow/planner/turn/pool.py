"""The run sets tried so far, the best turn among them, and what none of them can beat."""

from __future__ import annotations

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.planner.turn.question import REST, BoolArray, Terms
from orbitflow.planner.turn.stream import exact, least, pared, spread
from orbitflow.planner.turn.worth import (
    ROUNDING,
    TIE,
    Worth,
    least_of,
    ranked,
    worth_all,
)
from orbitflow.step import IntArray

ROUNDED = 4  # run sets that are made into turns, of those that are offered at once
PATIENCE = 2  # times that paring may gain nothing until it is left to `refine`
QUICK_GROUPS = (0, 2)  # ranks above the smallest largest group, at first
QUICK_SWAPS = 2
REFINED = 4  # run sets that are rounded in every way there is
PARED = 2  # of those ways
SEVERAL = 16  # members, up to which covers are made exactly, and more is worth looking for


class Pool:
    """Grows by run sets; `floor` is the least that any turn with one of them can lose."""

    def __init__(self, terms: Terms, tolerance: float) -> None:
        self._terms, self._tolerance = terms, tolerance
        self._seen: set[bytes] = set()
        self._hopeful: list[tuple[float, BoolArray]] = []
        self._fruitless = 0  # times that paring gained nothing
        self.best: IntArray | None = None
        self.worth: Worth | None = None  # of the best
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
        losses, is_met = least(self._terms, fresh)
        self.floor = min(self.floor, float(losses.min()))
        met = np.where(is_met, losses, np.inf)
        if is_met.any():
            first = least_of(met)
            if self._is_better(met[first]):
                self._keep(np.where(fresh[first], 0, REST))
        losses = np.where(is_met, np.inf, losses)
        order = np.flatnonzero(losses < self.loss - ROUNDING)
        if len(order):
            order = order[ranked(losses[order])[: max(REFINED, ROUNDED)]]
            self._hopeful += [(float(losses[row]), fresh[row]) for row in order.tolist()]
            self._round(fresh[order[:ROUNDED]], losses[order])

    def refine(self) -> None:
        """Round run sets that could still lose less in every way there is."""
        order = ranked(np.array([low for low, _ in self._hopeful])).tolist()
        hopeful = [self._hopeful[at] for at in order]
        self._hopeful = hopeful[REFINED:]
        for low, runs in hopeful[:REFINED]:
            if low >= self.cut:
                break
            turns = spread(self._terms, runs[None, :])[:, 0]
            worths = worth_all(self._terms, turns)
            _, once = np.unique(turns, axis=0, return_index=True)
            losses = np.where(worths.fits, worths.loss, np.inf)[once]
            for row in once[ranked(losses)[:PARED]].tolist():
                self._keep(pared(self._terms, turns[row]))
            if len(runs) <= SEVERAL:
                for turn in exact(self._terms, runs):
                    self._keep(turn)
        if self.best is not None and (self.best > 0).any():
            self._keep(pared(self._terms, self.best))

    def _fresh(self, runs: BoolArray) -> BoolArray:
        """Those that were not tried before."""
        packed = np.packbits(runs, axis=1)
        keys = packed.view(f"V{packed.shape[1]}").ravel().tolist()
        rows = {key: row for row, key in enumerate(keys) if key not in self._seen}
        self._seen.update(keys)
        return runs if len(rows) == len(runs) else runs[list(rows.values())]

    def _round(self, runs: BoolArray, losses: FloatArray) -> None:
        """Make turns of run sets that lose at least so much, and keep the best; paring is slow, so
        only the most promising gets it, and no longer once it has gained nothing a few times.
        """
        turns = spread(self._terms, runs, QUICK_GROUPS)
        ways, sets, members = turns.shape
        worths = worth_all(self._terms, turns.reshape(-1, members))
        loss = np.where(worths.fits, worths.loss, np.inf)
        at = worths.best()
        if at is not None and self._is_better(loss[at]):
            self._take(turns.reshape(-1, members)[at], worths.at(at))
        ways_of_first = loss.reshape(ways, sets)[:, 0]
        if losses[0] < self.cut and self._fruitless < PATIENCE and ways_of_first.min() < np.inf:
            before = self.loss
            self._keep(pared(self._terms, turns[least_of(ways_of_first), 0], QUICK_SWAPS))
            self._fruitless = 0 if self.loss < before else self._fruitless + 1

    def _is_better(self, loss: float) -> bool:
        """Whether by more than rounding: of equal turns the first one is kept."""
        return bool(loss < self.loss - TIE * max(1.0, loss))

    def _keep(self, turn: IntArray) -> None:
        worths = worth_all(self._terms, turn[None, :])
        if worths.fits[0] and self._is_better(worths.loss[0]):
            self._take(turn, worths.at(0))

    def _take(self, turn: IntArray, value: Worth) -> None:
        self.best, self.worth, self.loss = turn, value, value.loss
