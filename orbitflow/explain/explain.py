"""From a serving core that has just decided to what is shown of the decision.

A pass in steady state is timed by the simulated machine: the same pass again and again, with the
contexts held still, until the ring has settled. The last one counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence as Listed
from math import ceil, floor, inf
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.engine.policy import DataPlane, Policy
from orbitflow.explain.decision import (
    DecisionShown,
    Fate,
    MemoryShown,
    PassShown,
    PlannerShown,
    RequestShown,
    binding_of,
    reasons,
)
from orbitflow.explain.seated_engine import SeatedCore
from orbitflow.machine.cost import CostModel
from orbitflow.placement import HostLayers
from orbitflow.planner.planner import Plan as KvPlan
from orbitflow.planner.problem import Problem
from orbitflow.request import Phase, Request, RequestState
from orbitflow.scenario import Scenario
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.slo import next_due_s
from orbitflow.step import PlanAnswer, Step, Stream

SETTLED = 8  # passes; the first finds an empty ring, few more are needed


class Moment(NamedTuple):
    """When to look. `since_s` are the ends of passes that the core has not been told of."""

    now_s: float
    since_s: FloatArray = np.empty(0)


def describe(
    core: SeatedCore,
    policy: Policy,
    scenario: Scenario,
    moment: Moment,
    notes: tuple[str, ...] = (),
    solved: PlanAnswer | None = None,
) -> DecisionShown:
    """What the core's last decision comes to at this moment. `solved` is the planner's answer, if
    it was asked.
    """
    look = _Look(core, scenario.true, policy.data_plane, moment)
    states = [*core.queues.active.values(), *core.queues.paused.values()]
    states.sort(key=lambda s: s.order)
    rows = [look.at_sequence(s) for s in states]
    rows += [look.at_waiting(r) for r in core.queues.waiting.values()]
    active = [s for s in states if s.phase is not Phase.PAUSED]
    decode = steady_pass(scenario, policy.data_plane, active, look.passes, core.account.ring_pages)
    memory = look.at_memory(states)
    binding = binding_of(memory, decode, policy.data_plane)
    planner = _planner(policy, solved)
    window = None if core.window is None else max(0, core.window - len(moment.since_s))
    return DecisionShown(
        policy=policy.name,
        now_s=moment.now_s,
        decided_s=core.decided_s,
        layers=core.limits.layers,
        window=window,
        requests=tuple(rows),
        decode=decode,
        memory=memory,
        planner=planner,
        binding=binding,
        why=(*notes, *reasons(binding, memory, decode, rows, planner, policy)),
    )


class _Look:
    """Looks at a core at one moment."""

    def __init__(self, core: SeatedCore, cost: CostModel, plane: DataPlane, moment: Moment) -> None:
        self._core, self._limits = core, core.limits
        self._page_bytes, self._link_bytes_per_s = cost.page_bytes, cost.h2d.bytes_per_s[-1]
        self._read = plane.host_read
        self._moment = moment
        self.passes = core.passes + len(moment.since_s)

    def at_sequence(self, state: RequestState) -> RequestShown:
        return RequestShown(
            id=state.id,
            fate=_fate(state),
            context_tokens=state.context_tokens(self.passes),
            balance_s=self._balance_s(state),
            host_layers=state.target,
            gpu_bytes=self._gpu_pages(state) * self._page_bytes,
            streamed_bytes=self._streamed_bytes(state),
        )

    def at_waiting(self, request: Request) -> RequestShown:
        return RequestShown(request.id, Fate.WAITS, request.prompt_tokens + 1, None, (), 0, 0)

    def at_memory(self, states: list[RequestState]) -> MemoryShown:
        limits, account = self._limits, self._core.account
        pages = sum(limits.pages(s.context_tokens(self.passes)) for s in states)
        return MemoryShown(
            wanted_tokens=pages * limits.page_tokens,
            capacity_tokens=limits.capacity_tokens,
            gpu_pages=account.gpu_used,
            gpu_limit_pages=limits.gpu_pages,
            ring_pages=account.ring_pages,
            ring_is_extra=limits.ring_is_extra,
            host_pages=account.host_used,
            host_limit_pages=limits.host_pages,
            page_bytes=self._page_bytes,
            link_bytes_per_s=self._link_bytes_per_s,
        )

    def _balance_s(self, state: RequestState) -> float | None:
        if not state.generated_tokens(self.passes):
            return None
        times = self._core.token_times_s(state)
        if state.phase is Phase.RUNNING:
            times = np.concatenate([times, self._moment.since_s])
        return next_due_s(times, state.tbt_limit_s) - self._moment.now_s

    def _gpu_pages(self, state: RequestState) -> int:
        """Pages now, with everything where it is wanted."""
        limits, hosted = self._limits, len(state.target)
        context = state.context_tokens(self.passes)
        resident = (limits.layers - hosted) * limits.pages(context)
        if state.phase is Phase.PAUSED:
            return resident
        kept = ceil(self._read.kept_share * hosted * limits.full_pages(context))
        return resident + hosted + kept

    def _streamed_bytes(self, state: RequestState) -> int:
        if state.phase is Phase.PAUSED:
            return 0
        group = self._limits.full_pages(state.context_tokens(self.passes)) * self._page_bytes
        worked = len(self._read.worked_on(state.target))
        fetched = 0 if self._read.attends else floor(group * self._read.fetched_share)
        return (len(state.target) - worked) * group + worked * fetched


def _fate(state: RequestState) -> Fate:
    if state.phase is Phase.RUNNING:
        return Fate.RUNS
    if state.phase is Phase.PREFILL:
        return Fate.ADMITTED
    return Fate.DROPPED if not state.prefilled_tokens else Fate.PAUSED


def _planner(policy: Policy, solved: PlanAnswer | None) -> PlannerShown | None:
    """What the policy's planner says of its last plan, if it made one.

    A plan is proven as well if the solver that was asked for a better one has proven its equal.
    """
    draft = getattr(policy, "last_draft", None)
    if draft is None:
        return None
    problem: Problem = draft.problem
    plan: KvPlan = draft.plan
    better: KvPlan | None = None if solved is None else solved.body[1]
    proven = better is not None and better.is_proven and better.score.loss == plan.score.loss
    worth = plan.score
    return PlannerShown(
        by=plan.by,
        is_proven=plan.is_proven or proven,
        asked_solver=solved is not None,
        passes=problem.passes,
        loss=worth.loss,
        late_tokens=worth.late_tokens,
        pass_s=worth.pass_s,
        first_pass_s=worth.first_pass_s,
        moved_pages=worth.moved_pages,
        paused=len(problem.candidates) - worth.running,
        trouble=(None if better is None else better.trouble) or plan.trouble or None,
    )


def steady_pass(
    scenario: Scenario, plane: DataPlane, active: Listed[RequestState], passes: int, ring_pages: int
) -> PassShown | None:
    """One pass of all active requests, their prompts done; None if there are none."""
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
        tbt_limit_s=min(state.tbt_limit_s for state in active),
    )


def _step(active: Listed[RequestState], passes: int, ring_pages: int) -> Step:
    contexts = np.array([s.context_tokens(passes) for s in active], dtype=np.int64)
    rows: defaultdict[HostLayers, list[int]] = defaultdict(list)
    for row, state in enumerate(active):
        rows[state.target].append(row)
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
