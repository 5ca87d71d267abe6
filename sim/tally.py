"""What a step moved over the link and how long its passes waited, for fidelity `layer`."""

from __future__ import annotations

from collections.abc import Iterable

from orbitflow.machine.cost import CostModel

from orbitflow.step import Move, MoveKind


class Tally:
    """Running totals of one step; `stalls` has one entry per pass done."""

    def __init__(self, cost: CostModel, blocking: Iterable[Move]) -> None:
        self._cost = cost
        self.stalls: list[float] = []
        self.link_s = 0.0
        self.h2d_bytes = self.d2h_bytes = 0
        for move in blocking:
            if move.kind in (MoveKind.PARK, MoveKind.DEMOTE):
                self.d2h_bytes += move.pages * cost.page_bytes
            else:
                self.up(move.pages, cost.layers)

    def up(self, pages: int, runs: int) -> None:
        """Count a move to the GPU."""
        size = pages * self._cost.page_bytes
        self.h2d_bytes += size
        self.link_s += self._cost.copy_s(self._cost.h2d, size, runs)
