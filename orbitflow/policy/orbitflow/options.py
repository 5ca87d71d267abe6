"""The tuning constants of `orbitflow`: unit, meaning, and what an ablation of each changed.

Ablations: docs/notes/2026-11-constants.md, by `benchmarks/ablate_constants.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitflow.planner.problem import Candidate, PlanWeights


@dataclass(frozen=True, slots=True)
class OrbitFlowOptions:
    """Constants of admission and planning. What a user switches is in `Tuning`."""

    close_share: float = (
        0.95  # of the tightest TBT limit that a pass may take; then none is admitted
    )
    open_share: float = 0.9  # of it, at which admission starts again
    first_horizon_tokens: int = 256  # growth that is allowed for until a request has finished
    late_tokens: float = 8.0  # that a prompt may make late, over all running requests
    retry_passes: int = 16  # until admission looks again at who waits for balances to grow

    # Weights of plans, in late tokens. Without the first a plan pauses everybody who has a balance,
    # to save a fraction of a token; the second chooses the shorter of passes that lose the same.
    forgone: float = 0.05  # of a token that a paused request does not get made
    time: float = 0.01  # of a window's time, for each of the tightest limit between tokens

    ilp_nodes: int = 20  # of the integer program's search tree, for a plan request

    def weights(self, candidates: tuple[Candidate, ...]) -> PlanWeights:
        """What counts in a plan for these."""
        second = self.time / min(one.tbt_limit_s for one in candidates)
        return PlanWeights((self.forgone,) * len(candidates), second)


DEFAULT = OrbitFlowOptions()
