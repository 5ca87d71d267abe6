"""How long a plan is followed: while its memory lasts and the balances that it spends do.

    W = min(growth,
            (due_r - L x_r - T) / T    for who rests, so that it is back when its reader wants it,
            due_r / (T - tau_r)        for who runs slower than it is read,
            OWED_PASSES                while somebody's turn cannot be put off)

with x_r the link seconds of one layer. Whoever loses tokens anyway is looked at again after
RESTED_PASSES or DRAINED_PASSES.
"""

from __future__ import annotations

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.machine.cost import CostModel
from orbitflow.memory import BatchPages, KvLimits, longest_window
from orbitflow.placement import HostLayers
from orbitflow.policy.orbitflow.planning import RING_GROUPS, Plan
from orbitflow.policy.pausing import OWED_PASSES, RESTED_PASSES

LONGEST_WINDOW = 4096
DRAINED_PASSES = 8  # balances that run out ask for a new plan no oftener


def resident_window(
    limits: KvLimits, cost: CostModel, contexts: IntArray, tau_s: float, lookahead: int
) -> int | None:
    """Passes for which everything on the GPU is sure to fit; None where it does not fit for
    `lookahead` tokens of growth, or a pass takes longer than `tau_s`.
    """
    near = BatchPages.of(limits, contexts, lookahead - 1)
    free = limits.gpu_pages - limits.layers * near.pages
    if free < 0 or cost.decode_pass_s(len(contexts), int(contexts.sum())) > tau_s:
        return None
    pages = free // (len(contexts) * limits.layers)  # one more of each layer for everybody
    return min(lookahead + pages * limits.page_tokens, LONGEST_WINDOW)


def placed_by(plan: Plan) -> dict[int, HostLayers]:
    """Host layers of the requests that run, by id."""
    options = zip(plan.problem.requests, plan.answer.choice.options, strict=True)
    return {asked.id: plan.problem.options[o] for asked, o in options if o >= 0}


def window_of(plan: Plan, placed: dict[int, HostLayers], *, pauses: bool) -> int:
    """Passes until the policy should look again."""
    problem, worth = plan.problem, plan.answer.score
    running = [a for a in problem.requests if a.id in placed]
    window = longest_window(
        problem.limits,
        np.array([a.context_tokens for a in running]),
        [placed[a.id] for a in running],
        RING_GROUPS,
        LONGEST_WINDOW,
    )
    if not pauses:
        return max(1, window)
    pass_s, back_s = worth.pass_s, problem.limits.layers * problem.terms.layer_link_s
    for asked, its_back_s in zip(problem.requests, back_s.tolist(), strict=True):
        if asked.id not in placed:
            spare = int((asked.due_s - its_back_s - pass_s) / pass_s)
            window = min(window, spare if spare >= DRAINED_PASSES else RESTED_PASSES)
        elif pass_s > asked.tau_s and asked.due_s > 0:
            lasts = min(asked.due_s / (pass_s - asked.tau_s), window)
            window = min(window, max(DRAINED_PASSES, int(lasts)))
    return max(1, min(window, OWED_PASSES) if plan.is_owed else window)
