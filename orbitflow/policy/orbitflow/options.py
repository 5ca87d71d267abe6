"""The tuning constants of `orbitflow`: unit, meaning, and what an ablation of each changed.

Ablations: docs/notes/2026-11-constants.md, by `benchmarks/ablate_constants.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OrbitFlowOptions:
    """Constants of admission. What a user switches is in `Tuning`."""

    close_share: float = (
        0.95  # of the tightest TBT limit that a pass may take; then none is admitted
    )
    open_share: float = 0.9  # of it, at which admission starts again
    first_horizon_tokens: int = 256  # growth that is allowed for until a request has finished
    late_tokens: float = 8.0  # that a prompt may make late, over all running requests


DEFAULT = OrbitFlowOptions()
