"""What the rows of the study say of points: figures by seed, their means, and paired comparisons.

A comparison of two points is made seed by seed, on the same workload, and averaged afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.paper.points import Point

from orbitflow.study.statistics import Estimate, estimate
from orbitflow.study.stored import Row

Compare = Callable[[float, float], float | None]


def difference(left: float, right: float) -> float:
    """Left - right."""
    return left - right


def quotient(left: float, right: float) -> float | None:
    """Left / right; None where there is nothing to divide by."""
    return left / right if right else None


class Measured:
    """The runs that ended well."""

    def __init__(self, rows: Mapping[tuple[str, int], Row]) -> None:
        self._seeds: dict[str, dict[int, Mapping[str, Any]]] = {}
        for (cell_id, seed), row in sorted(rows.items()):
            if row["status"] == "ok":
                self._seeds.setdefault(cell_id, {})[seed] = row["figures"]

    def runs(self, point: Point) -> int:
        """How many seeds of a point are there."""
        return len(self._seeds.get(point.cell.id, {}))

    def by_seed(self, point: Point, figure: str) -> dict[int, float]:
        """A figure of every seed that has it."""
        runs = self._seeds.get(point.cell.id, {})
        known = {seed: figures.get(figure) for seed, figures in runs.items()}
        return {seed: float(value) for seed, value in known.items() if value is not None}

    def of(self, point: Point, figure: str) -> Estimate | None:
        """A figure over seeds; None if no run has it."""
        values = list(self.by_seed(point, figure).values())
        return estimate(values) if values else None

    def paired(
        self, left: Point, right: Point, figure: str, compare: Compare, other: str | None = None
    ) -> Estimate | None:
        """`compare` of a left point's figure and a right point's, `other` where that is another
        figure, over the seeds for which it is defined.
        """
        ours, theirs = self.by_seed(left, figure), self.by_seed(right, other or figure)
        both = [compare(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
        known = [value for value in both if value is not None]
        return estimate(known) if known else None
