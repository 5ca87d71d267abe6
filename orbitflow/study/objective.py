"""What a search looks for: one figure of a policy, as large or as small as possible.

The figure of a trial is its mean over the seeds that ended well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from orbitflow.errors import UserError, nearest
from orbitflow.study.keys import Direction
from orbitflow.study.statistics import Estimate

_TIMES = tuple(
    f"{name}.{of}"
    for name in ("ttft_s", "tpot_s", "tbt_s", "e2el_s")
    for of in ("mean", "p50", "p95", "p99", "max")
)
_BETTER_LARGE = (
    *("timely_share", "tbt_attainment", "tpot_attainment", "ttft_attainment", "slo_attainment"),
    *("goodput_rps", "throughput_tokens_per_s", "completed"),
    *("link.hidden_share", "link.resident_share"),
)
_BETTER_SMALL = (
    *("makespan_s", "failed", "paused_s", "dropped", *_TIMES),
    *("link.h2d_bytes", "link.d2h_bytes", "link.stall_s", "link.moves"),
    *("planner.p50_ms", "planner.p99_ms", "planner.runtime_share"),
)
DIRECTIONS: Mapping[str, Direction] = {
    **dict.fromkeys(_BETTER_LARGE, Direction.MAX),
    **dict.fromkeys(_BETTER_SMALL, Direction.MIN),
}
NO_DIRECTION = (
    *("link.busy_share", "output_tokens", "requests"),
    *(f"planner.{of}" for of in ("calls", "searches", "proven", "kept", "improved", "drifts")),
    "planner.solver_troubles",
)


class Objective(NamedTuple):
    """A figure, and which way it is better."""

    figure: str
    direction: Direction

    def of(self, figures: Mapping[str, Estimate]) -> float | None:
        """What a trial reached; None if no seed of it has the figure."""
        found = figures.get(self.figure)
        return None if found is None else found.mean

    def rank(self, value: float | None) -> tuple[bool, float]:
        """What to sort by, the best first and what has no value last."""
        if value is None:
            return True, 0.0
        return False, -value if self.direction is Direction.MAX else value


def read_objective(figure: str, direction: Direction | None) -> Objective:
    """Read an objective. Raise a UserError for a figure that no simulation has."""
    if figure not in DIRECTIONS and figure not in NO_DIRECTION:
        known = nearest(figure, (*DIRECTIONS, *NO_DIRECTION))
        raise UserError(f"--objective {figure!r} is no figure of a policy: {known}")
    known_direction = direction or DIRECTIONS.get(figure)
    if known_direction is None:
        raise UserError(f"--objective {figure} is not better one way: add --direction max or min")
    return Objective(figure, known_direction)
