"""How long a plan takes on this machine: questions as OrbitFlow asks them, put to its ILP.

    latency = median over questions of one `improve`

Eight readers, which is the most that the ILP is given, with memory for 70 to 105 % of their KV.
Questions that the fast search proves are left out where there are others: nobody asks those.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from orbitflow.policy.orbitflow.planning import RING_GROUPS
from orbitflow.policy.orbitflow.policy import ILP_NODES

from orbitflow.backend.clock import Clock
from orbitflow.config import SolverName
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits
from orbitflow.planner.planner import MOST_REQUESTS, Answer, improve, quick
from orbitflow.planner.problem import Asked, Problem, paper_options

_QUESTIONS_TRIED = 8  # per question wanted
_READ_FASTER = 1.5  # the time between tokens that is asked for, over a pass with everything there


def planner_latency_s(
    cost: CostModel, limits: KvLimits, plans: int, clock: Clock, seed: int
) -> float:
    """Time plans; the first one, which loads the solver, does not count."""
    dice, times = np.random.Generator(np.random.PCG64(seed)), []
    found = list(_questions(cost, limits, dice, plans))
    if not found:
        return 0.0
    for problem, start in [found[0], *found]:
        began_s = clock.now_s()
        improve(problem, start, SolverName.AUTO, ILP_NODES)
        times.append(clock.now_s() - began_s)
    return float(np.median(times[1:]))


def _questions(
    cost: CostModel, limits: KvLimits, dice: np.random.Generator, wanted: int
) -> Iterator[tuple[Problem, Answer]]:
    easy: list[tuple[Problem, Answer]] = []
    hard = 0
    for _ in range(wanted * _QUESTIONS_TRIED):
        problem = _question(cost, limits, dice)
        answer = quick(problem)
        if answer is None:
            continue
        if answer.is_proven:
            easy.append((problem, answer))
            continue
        hard += 1
        yield problem, answer
        if hard == wanted:
            return
    yield from easy[: wanted - hard]


def _question(cost: CostModel, limits: KvLimits, dice: np.random.Generator) -> Problem:
    share = limits.capacity_tokens / MOST_REQUESTS / dice.uniform(0.7, 1.05)
    contexts = [max(2, int(share * dice.uniform(0.2, 1.8))) for _ in range(MOST_REQUESTS)]
    tau_s = _READ_FASTER * cost.decode_pass_s(MOST_REQUESTS, sum(contexts))
    asked = tuple(
        Asked(i, context, tau_s, dice.uniform(0, 30) * tau_s, (), True)
        for i, context in enumerate(contexts)
    )
    options = paper_options(limits.layers)
    passes = 2 * limits.page_tokens
    return Problem(cost, limits, Overlap.RING, RING_GROUPS, passes, asked, options)
