"""How long a plan of the integer program takes on this machine: problems as `orbitflow` asks them.

    latency = median over problems of one `improve`

Eight requests with memory for 70 to 105 % of their KV.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orbitflow.backend.clock import Clock
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits
from orbitflow.planner.planner import Plan, improve, quick
from orbitflow.planner.problem import Candidate, Problem, paper_options
from orbitflow.policy.orbitflow.options import DEFAULT
from orbitflow.policy.windows import RING_GROUPS

_REQUESTS = 8
_TRIED = 8  # problems drawn for each one wanted, at most: some have no plan
_READ_FASTER = 1.5  # the time between tokens that is asked for, over a pass with everything there


def planner_latency_s(
    cost: CostModel, limits: KvLimits, plans: int, clock: Clock, seed: int
) -> float:
    """Time plans; the first one, which loads the solver, does not count."""
    dice, times = np.random.Generator(np.random.PCG64(seed)), []
    found = list(_problems(cost, limits, dice, plans))
    if not found:
        return 0.0
    for problem, start in [found[0], *found]:
        began_s = clock.now_s()
        improve(problem, start, DEFAULT.ilp_nodes)
        times.append(clock.now_s() - began_s)
    return float(np.median(times[1:]))


def _problems(
    cost: CostModel, limits: KvLimits, dice: np.random.Generator, wanted: int
) -> Iterator[tuple[Problem, Plan]]:
    count = 0
    for _ in range(wanted * _TRIED):
        problem = _problem(cost, limits, dice)
        plan = quick(problem)
        if plan is not None:
            yield problem, plan
            count += 1
            if count == wanted:
                return


def _problem(cost: CostModel, limits: KvLimits, dice: np.random.Generator) -> Problem:
    share = limits.capacity_tokens / _REQUESTS / dice.uniform(0.7, 1.05)
    contexts = [max(2, int(share * dice.uniform(0.2, 1.8))) for _ in range(_REQUESTS)]
    tbt_limit_s = _READ_FASTER * cost.decode_pass_s(_REQUESTS, sum(contexts))
    candidates = tuple(
        Candidate(i, context, tbt_limit_s, dice.uniform(0, 30) * tbt_limit_s, (), True)
        for i, context in enumerate(contexts)
    )
    weights = DEFAULT.weights(candidates)
    passes = 2 * limits.page_tokens
    placements = paper_options(limits.layers)
    return Problem(cost, limits, Overlap.RING, RING_GROUPS, passes, candidates, placements, weights)
