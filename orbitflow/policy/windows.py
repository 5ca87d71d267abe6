"""For how many passes a plan is made, and for how many it is followed.

Plans are made for two pages of growth, for less where that does not fit. A plan is followed while
its memory lasts and the balances that it spends do: with pass time T and the link seconds x_r of
one of L layers, until

    (due_r - L x_r - T) / T      of whoever is paused, so that it is back when its token is due
    due_r / (T - tbt_limit_r)    of whoever runs slower than its limit

`orbit` and `orbitflow` share this.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from orbitflow.arrays import IntArray
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.planner.problem import Problem

RING_GROUPS = 2  # groups of the staging ring: one is read while the next one arrives
LONGEST_WINDOW = 4096  # passes


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """Tuning constants of plans and windows that `orbit` and `orbitflow` share."""

    planned_pages: int = 2  # growth that a plan is made for
    last_resorts: tuple[int, ...] = (4, 1)  # passes to plan for where less growth fits
    worth_tokens: float = 0.1  # loss that a new plan must avoid to be worth its moves
    least_passes: int = 8  # balances that run out ask for a new plan no oftener


WINDOWS = WindowOptions()


def planned_passes(limits: KvLimits) -> int:
    """Passes that a plan is made for."""
    return WINDOWS.planned_pages * limits.page_tokens


def horizons(limits: KvLimits) -> tuple[int, ...]:
    """Passes to plan for, the wanted first, then what is tried where that does not fit."""
    return (planned_passes(limits), limits.page_tokens, *WINDOWS.last_resorts)


def resident_window(
    limits: KvLimits, cost: CostModel, contexts: IntArray, tbt_limit_s: float
) -> int | None:
    """Passes for which everything on the GPU is sure to fit; None where it does not fit for the
    planned growth, or a pass takes longer than the limit.
    """
    lookahead = planned_passes(limits)
    near = (contexts + (lookahead + limits.page_tokens - 2)) // limits.page_tokens
    free = limits.gpu_pages - limits.layers * int(near.sum())
    if free < 0 or cost.decode_pass_s(len(contexts), int(contexts.sum())) > tbt_limit_s:
        return None
    pages = free // (len(contexts) * limits.layers)  # one more of each layer for everybody
    return min(lookahead + pages * limits.page_tokens, LONGEST_WINDOW)


def until_due(
    problem: Problem, running: Collection[int], pass_s: float, window: int, late_window: int
) -> int:
    """Passes, at most `window`, until one that is paused must be back, or a balance is spent.
    Whoever is paused and late anyway is looked at again after `late_window`.
    """
    back_s = problem.limits.layers * problem.terms.link_s
    for one, its_back_s in zip(problem.candidates, back_s.tolist(), strict=True):
        if one.id not in running:
            spare = min((one.due_s - its_back_s - pass_s) / pass_s, float(LONGEST_WINDOW))
            window = min(window, int(spare) if spare >= WINDOWS.least_passes else late_window)
        elif pass_s > one.tbt_limit_s and one.due_s > 0:
            lasts = min(one.due_s / (pass_s - one.tbt_limit_s), window)
            window = min(window, max(WINDOWS.least_passes, int(lasts)))
    return max(1, window)
