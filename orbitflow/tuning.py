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
    """Which solver closes what the fast search has not proven."""

    AUTO = "auto"  # HiGHS in process where it is installed, else the CBC that comes with PuLP
    HIGHS = "highs"
    CBC = "cbc"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a run switches off or chooses; policies without a planner ignore it."""

    refine: bool = True
    deposit: bool = True
    pause: bool = True
    gate: bool = True
    victim: Victim = Victim.DENSITY
    solver: SolverName = SolverName.AUTO
