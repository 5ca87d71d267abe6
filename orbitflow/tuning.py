"""Switches of the policies that plan: one flag takes one mechanism out, for ablations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Victim(StrEnum):
    """Whom a plan may park first when somebody must rest."""

    DENSITY = "density"  # whoever costs the fewest late tokens for the memory freed
    LONGEST = "longest"  # the paper's choice
    SHORTEST = "shortest"
    RANDOM = "random"


class SolverName(StrEnum):
    """Who makes the plans."""

    AUTO = "auto"  # the fast search
    ILP = "ilp"  # the integer program, from the search's plan on; HiGHS solves it

    @classmethod
    def _missing_(cls, value: object) -> None:
        if value in ("cbc", "highs"):
            raise ValueError(f"{value} was removed: use auto, or ilp, which HiGHS solves")
        raise ValueError(f"{value!r} is none of {', '.join(cls)}")


class LengthsKnown(StrEnum):
    """What `orbit` knows of output lengths."""

    QUANTILE = "quantile"  # of finished requests
    ORACLE = "oracle"  # the true ones, to study what guessing costs


@dataclass(frozen=True)
class Tuning:
    """What a run switches off or chooses; policies without a planner ignore it.

    `token_value`: late tokens that a token not made counts for. `lost_weight`: what a late token
    counts for a request that has missed its TTFT limit. `late_load`: share of what can be fed, and
    of the batch's places, up to which such requests are let in.
    """

    refine: bool = True
    deposit: bool = True
    pause: bool = True
    gate: bool = True
    spread: bool = True
    preload: bool = True
    victim: Victim = Victim.DENSITY
    solver: SolverName = SolverName.AUTO
    lengths: LengthsKnown = LengthsKnown.QUANTILE
    token_value: float = 0.2
    lost_weight: float = 0.5
    late_load: float = 0.75
