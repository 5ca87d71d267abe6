"""What a solver is asked and what it answers, before anybody has checked the answer."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orbitflow.planner.linear import LinearProgram


class Status(StrEnum):
    """What became of a problem."""

    OPTIMAL = "optimal"  # to within the gap asked for
    FEASIBLE = "feasible"  # stopped at a limit with values in hand
    INFEASIBLE = "infeasible"
    FAILED = "failed"  # no usable answer; the message says why


class Effort(NamedTuple):
    """When to stop: relative gap, nodes of the search tree (1: its root), seconds.

    Only nodes give the same answer on every machine; simulators never give seconds.
    """

    gap: float = 0.0
    nodes: int | None = None
    seconds: float | None = None


class Outcome(NamedTuple):
    """A solver's own word. Values are there iff the status is OPTIMAL or FEASIBLE."""

    status: Status
    values: NDArray[np.float64] | None = None
    message: str = ""


class Solver(NamedTuple):
    """A way to solve: why it cannot be used here, if so; and the call, which may raise anything."""

    title: str
    remedy: str
    missing: Callable[[], str | None]
    run: Callable[[LinearProgram, Effort, NDArray[np.float64] | None], Outcome]
