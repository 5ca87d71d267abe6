"""Random cases of a few requests on a toy machine, small enough to try all their schedules.

Every request fits, alone, with some number of layers on the host. Memory, link, load and limits are
drawn so that each of them is what decides in some of the cases. The same seed, the same case.
"""

from __future__ import annotations

import numpy as np
from strategies import Machine

from orbitflow.bound.bound import Bound, upper_bound
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.profile import LinkFit
from orbitflow.memory import KvLimits
from orbitflow.request import Request
from orbitflow.slo import Slo
from reference.schedules import Case

BASE_S, PAGE_BYTES = 1.0, 1000


def random_case(seed: int, requests: int = 3) -> Case:
    """Draw one case."""
    rng = np.random.Generator(np.random.PCG64(seed))
    machine = _machine(rng)
    drawn: list[Request] = []
    now = 0.0
    while len(drawn) < requests:
        request = Request(len(drawn), now, int(rng.integers(1, 6)), int(rng.integers(1, 6)))
        if fits(request, machine):
            drawn.append(request)
            now += float(rng.choice((0.0, 0.0, rng.uniform(0, 3), rng.uniform(0, 8))))
    slo = Slo(float(rng.uniform(1.0, 3.5)), float(rng.uniform(0.0, 8.0)), 1.2, "random")
    max_batch = (None, None, 1, 2)[rng.integers(4)]
    return Case(machine, tuple(drawn), max_batch, slo, int(rng.integers(2, 6)))


def _machine(rng: np.random.Generator) -> Machine:
    layers, page_tokens = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    page_s = float(rng.choice((0.03, 0.15, 0.4))) * page_tokens
    link = LinkFit(0.0, (1.0,), (PAGE_BYTES / page_s,))
    decode = DecodeFit(BASE_S, float(rng.uniform(0, 0.3)), float(rng.uniform(0, 0.06)), 0.0)
    prefill = PrefillFit(
        float(rng.uniform(0.2, 1.0)), float(rng.uniform(0.05, 0.4)), float(rng.uniform(0, 0.05))
    )
    cost = CostModel(layers, page_tokens, PAGE_BYTES, LinePasses(decode, prefill), link, link, 0.0)
    capacity = int(rng.integers(3, 30)) // page_tokens + 1
    is_extra = bool(rng.random() < 0.3)
    return Machine(cost, KvLimits(layers, page_tokens, capacity * layers, None, is_extra))


def fits(request: Request, machine: Machine) -> bool:
    """Whether some number of host layers, with a ring of one group, holds the request."""
    limits = machine.limits
    tokens = max(request.final_tokens, request.prompt_tokens + 1)
    pages = limits.pages(tokens)
    return any(
        (limits.layers - h) * pages + h + (pages - 1 if h and not limits.ring_is_extra else 0)
        <= limits.gpu_pages
        for h in range(limits.layers + 1)
    )


def bound_of(case: Case) -> Bound:
    """The bound of a case."""
    cost, limits = case.machine
    return upper_bound(case.requests, cost, limits, case.max_batch, case.slo)
