"""A decode pass in steady state: KV lies where it is wanted, nothing moves, prefetching runs.

The simulated machine times the same pass again and again, with the contexts held still, until the
ring has settled; the last one counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence as Listed
from math import inf

import numpy as np

from orbitflow.engine.policy import DataPlane
from orbitflow.explain.decision import PassShown
from orbitflow.placement import HostLayers
from orbitflow.request import RequestState
from orbitflow.scenario import Scenario
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Step, Stream

SETTLED = 8  # passes; the first finds an empty ring, few more are needed


def steady_pass(
    scenario: Scenario, plane: DataPlane, active: Listed[RequestState], passes: int, ring_pages: int
) -> PassShown | None:
    """One pass of everybody active, their prompts done; None if nobody is."""
    if not active:
        return None
    step = _step(active, passes, ring_pages)
    machine, now_s = SimExecutor(scenario.true, plane), 0.0
    for _ in range(SETTLED):
        outcome = machine.execute(step, now_s, inf)
        now_s = outcome.end_s
    pass_s = float(outcome.pass_s[0])
    return PassShown(
        requests=len(active),
        compute_s=pass_s - outcome.stall_s,
        link_s=outcome.link_busy_s,
        stall_s=outcome.stall_s,
        pass_s=pass_s,
        h2d_bytes=outcome.h2d_bytes,
        tau_s=min(sequence.tau_s for sequence in active),
    )


def _step(active: Listed[RequestState], passes: int, ring_pages: int) -> Step:
    contexts = np.array([s.context_tokens(passes) for s in active], dtype=np.int64)
    rows: defaultdict[HostLayers, list[int]] = defaultdict(list)
    for row, sequence in enumerate(active):
        rows[sequence.target].append(row)
    return Step(
        number=1,
        chunks=(),
        decode_ids=tuple(s.id for s in active),
        context_tokens=int(contexts.sum()),
        contexts=contexts,
        streams=tuple(Stream(host, host, contexts[at]) for host, at in rows.items() if host),
        ring_pages=ring_pages,
        moves=(),
        passes=1,
        version=1,
        stop_on_arrival=False,
    )
