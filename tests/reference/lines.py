"""The two lines of a machine whose passes follow lines."""

from __future__ import annotations

from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import LinePasses
from orbitflow.machine.profile import Profile


def lines(machine: CostModel | Profile) -> LinePasses:
    """Its decode and its prefill."""
    passes = machine.passes if isinstance(machine, CostModel) else machine.pass_times
    assert isinstance(passes, LinePasses)
    return passes
