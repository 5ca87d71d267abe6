"""What a policy that plans did, for the summary."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class PlanningFigures:
    """Counts over a run. `troubles`: what went wrong with a solver, each time."""

    searches: int = 0  # questions that the fast search answered
    proven: int = 0  # of them, answers that it proved; `orbit`: of up to ten requests
    kept: int = 0  # times that what ran was as good as any new plan
    improved: int = 0  # answers of the ILP that were better than the search's
    drifts: int = 0  # times that the refiner asked for new plans
    troubles: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """The figures in the summary's `planner` object."""
        return {
            "searches": self.searches,
            "proven": self.proven,
            "kept": self.kept,
            "improved": self.improved,
            "drifts": self.drifts,
            "solver_troubles": len(self.troubles),
        }
