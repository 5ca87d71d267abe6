"""The systems that the paper compares, by its names, and which policy and options stand for them.

Its FlexGen offloads every second layer for good (`static-1`); its OrbitFlow has no admission gate
and pauses the longest request; the rest is `orbitflow` with mechanisms taken out. All share our
data plane and our model of the machine.
"""

from __future__ import annotations

from typing import NamedTuple

from orbitflow.study.keys import Value


class System(NamedTuple):
    """A row of a table: what it is called, and how it is run."""

    title: str
    policy: str
    options: tuple[tuple[str, Value], ...] = ()
    is_ours: bool = False  # not in the paper


_NO_GATE = ("no_gate", True)
_LONGEST = ("victim", "longest")

NO_OFFLOAD = System("No offload", "no-offload")
DEEPSPEED = System("DeepSpeed", "deepspeed")
FLEXGEN = System("FlexGen", "static-1")
FLEXGEN_PLUS = System("FlexGen+", "flexgen-plus")
SELECT_N = System("SLO-aware", "select-n-artifact")
DYNAMIC = System("Dynamic Heuristic", "dynamic")
ORBITFLOW = System("OrbitFlow", "orbitflow", (_NO_GATE, _LONGEST))

UNIFORM = System("uniform", "uniform-ilp")
PER_REQUEST = System(
    "+ per request", "orbitflow", (_NO_GATE, ("no_pause", True), ("no_deposit", True))
)
PAUSING = System("+ pause", "orbitflow", (_NO_GATE, _LONGEST, ("no_deposit", True)))
DEPOSIT = ORBITFLOW._replace(title="+ deposit")

GATED = System("orbitflow, gate", "orbitflow", (), is_ours=True)
ORBIT = System("orbit", "orbit", (), is_ours=True)

BASELINES = (DEEPSPEED, FLEXGEN, FLEXGEN_PLUS, SELECT_N, DYNAMIC)
COMPARED = (NO_OFFLOAD, *BASELINES, ORBITFLOW, GATED)


def with_victim(name: str) -> System:
    """The paper's OrbitFlow with another choice of whom to pause."""
    return System(f"pauses {name}", "orbitflow", (_NO_GATE, ("victim", name)))
