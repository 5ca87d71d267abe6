"""A scenario's upper bound, and what share of it a policy reaches.

share of bound = figure / bound, at most 1; `docs/bound.md`. It is left out for a run that the bound
does not cover: one that dropped KV and computed it again, attended to less than all of it, or let
the CPU attend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from orbitflow.bound.bound import Bound, upper_bound
from orbitflow.config import DepositRule
from orbitflow.machine.cost import CostModel
from orbitflow.results.metrics import share
from orbitflow.results.summary import PolicyReport
from orbitflow.scenario import Scenario

BOUNDED = tuple(field.name for field in fields(Bound))
NOT_COVERED = "the bound does not cover KV dropped and recomputed, lossy attention, or the CPU's"


def bound_of(scenario: Scenario) -> Bound:
    """What no policy can exceed in this scenario. Where some policy's early tokens may be banked,
    they are.
    """
    slo = scenario.slo
    return upper_bound(
        list(scenario.trace.requests()),
        _quickest(scenario),
        scenario.limits,
        scenario.max_batch,
        replace(slo, cost=slo.cost or scenario.believed),
        deposit=scenario.config.deposit is not DepositRule.NONE,
    )


def _quickest(scenario: Scenario) -> CostModel:
    """The true machine, every pass as short as noise can make it."""
    return scenario.true.slower(compute=1 - scenario.noise)


def bound_figures(bound: Bound) -> dict[str, float]:
    """The bound by figure, as it goes to files."""
    return asdict(bound)


def is_covered(figures: Mapping[str, Any]) -> bool:
    """Whether the bound holds for the run of these figures. Without a count of what was dropped,
    that the policy may recompute is enough to say no.
    """
    if figures.get("lossy") or figures.get("cpu_attends"):
        return False
    return not figures.get("dropped", figures.get("recomputes"))


def shares_of_bound(
    figures: Mapping[str, Any], bound: Mapping[str, Any]
) -> dict[str, float | None] | None:
    """Share of the bound by figure; None for a run that is not covered, and for a figure that is
    undefined or whose bound is 0.
    """
    if not is_covered(figures):
        return None
    known = {name: figures.get(name) for name in BOUNDED}
    return {n: None if v is None else share(v, bound[n]) for n, v in known.items()}


def with_shares(report: PolicyReport, bound: Bound) -> PolicyReport:
    """The report with its `share_of_bound`."""
    shares = shares_of_bound(report.figures, bound_figures(bound))
    return report._replace(figures={**report.figures, "share_of_bound": shares})
