"""A search: so many trials from a space, all drawn beforehand, or proposed as others end.

A trial is a cell. The same space, sampler, seed and trials at once give the same cells in the same
order, whatever the number of workers and however often the study was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orbitflow.errors import UserError
from orbitflow.study.figures import Objective
from orbitflow.study.grid import Cell, Grid
from orbitflow.study.keys import Sampler

MOST_TRIALS = 100_000
MOST_REPEATS = 10_000
DEFAULT_OBJECTIVE = "slo_attainment"
DEFAULT_TRIALS, DEFAULT_AT_ONCE = 50, 4


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched, and how. Raise a UserError for a number that no search can have."""

    space: Space
    sampler: Sampler
    objective: Objective
    trials: int = DEFAULT_TRIALS
    seed: int = 0
    at_once: int = DEFAULT_AT_ONCE  # Optuna's proposals before it learns what became of them

    def __post_init__(self) -> None:
        for option, value in (("--trials", self.trials), ("--trials-at-once", self.at_once)):
            if not 1 <= value <= MOST_TRIALS:
                raise UserError(f"{option} {value} must be from 1 to {MOST_TRIALS:,}")

    @property
    def grid(self) -> Grid:
        """The keys and their extreme values: what is checked before anything runs."""
        return Grid(self.space.axes(), self._notices())

    @property
    def most(self) -> int:
        """How many different cells the search can come to."""
        return min(self.trials, self.space.size or self.trials)

    def drawn(self) -> tuple[Cell, ...]:
        """The cells that are known before anything runs: all of a random search."""
        if self.sampler is not Sampler.RANDOM:
            return ()
        cells: dict[str, Cell] = {}
        repeats = 0
        for cell in self._draws():
            if len(cells) == self.most or repeats == MOST_REPEATS:
                break
            repeats = repeats + 1 if cell.id in cells else 0
            cells.setdefault(cell.id, cell)
        return tuple(cells.values())

    def to_json(self) -> dict[str, object]:
        """What makes two searches the same."""
        found: dict[str, object] = {
            "sampler": str(self.sampler),
            "seed": self.seed,
            "trials": self.trials,
            "objective": self.objective.figure,
            "direction": str(self.objective.direction),
            "space": self.space.to_json(),
        }
        if self.sampler is Sampler.OPTUNA:
            found["trials_at_once"] = self.at_once
        return found

    def _draws(self) -> Iterator[Cell]:
        rng = np.random.Generator(np.random.PCG64(self.seed))
        while True:
            yield self.space.at(rng.random(len(self.space.dimensions)).tolist())

    def _notices(self) -> tuple[str, ...]:
        if self.most == self.trials:
            return ()
        return (f"the space has {self.most} configurations, fewer than --trials {self.trials}",)
