"""max(C, X), which plans are made with, against the exact recursion of the ring once it is steady.

With a ring of two of the largest groups the recursion reaches the bound but for rare patterns.
"""

from __future__ import annotations

import random

import numpy as np

from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap, RingPipeline, TransferDemand
from orbitflow.memory import KvLimits
from orbitflow.planner.problem import Candidate, PlanWeights, Problem, paper_options
from orbitflow.planner.search import search

COST = CostModel.from_profile(resolve_profile("a5000-llama3-8b-paper"))
PLACEMENTS = paper_options(32)
PASSES, SETTLED = 40, 20


def _steady_pass_s(problem: Problem, options: tuple[int, ...]) -> float:
    terms, layers = problem.terms, problem.limits.layers
    link, pages = np.zeros(layers), np.zeros(layers)
    compute = terms.base_s + float(terms.compute_s.sum())
    for row, option in enumerate(options):
        for layer in PLACEMENTS[option]:
            link[layer] += terms.link_s[row]
            pages[layer] += terms.pages[row]
    host = np.flatnonzero(pages)
    demand = TransferDemand(
        tuple(host.tolist()), np.tile(link[host], (PASSES, 1)), np.tile(pages[host], (PASSES, 1))
    )
    ring = RingPipeline()
    ring.restart(0.0, problem.ring_groups * float(pages.max()))
    per_pass = np.full(PASSES, compute)
    stalls = ring.stalls(demand, per_pass / layers, per_pass, 0.0)
    return compute + float(stalls[SETTLED:].mean())


def test_the_bound_is_what_a_pass_takes() -> None:
    draw, errors = random.Random(1), []
    for _ in range(250):
        count = draw.choice((2, 3, 4, 8, 32))
        limits = KvLimits.from_tokens(32, 16, int(count * 2500 * draw.uniform(0.7, 1.05)))
        candidates = tuple(
            Candidate(i, draw.randint(200, 5000), 0.088, draw.uniform(0, 3), (), False)
            for i in range(count)
        )
        weights = PlanWeights((0.05,) * count, 0.1)
        problem = Problem(COST, limits, Overlap.RING, 2, 32, candidates, PLACEMENTS, weights)
        found = search(problem)
        if found is not None and found.score.link_s:
            errors.append(_steady_pass_s(problem, found.options) / found.score.pass_s - 1)
    assert len(errors) > 100
    assert min(errors) > -1e-9
    assert max(errors) < 0.02
    assert sum(error > 1e-9 for error in errors) <= 0.02 * len(errors)
