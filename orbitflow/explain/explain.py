"""From a server that has just decided to what is shown of it."""

from __future__ import annotations

from math import ceil, floor
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.engine.policy import DataPlane, Policy
from orbitflow.explain.decision import (
    DecisionShown,
    Fate,
    MemoryShown,
    PlannerShown,
    RequestShown,
    binding_of,
    reasons,
)
from orbitflow.explain.seated_engine import SeatedCore
from orbitflow.machine.cost import CostModel
from orbitflow.planner.planner import Answer
from orbitflow.planner.problem import Problem
from orbitflow.policy.orbit.rotation import PROVEN_GAP, Drafted
from orbitflow.request import Phase, Request, RequestState
from orbitflow.scenario import Scenario
from orbitflow.slo import next_due_s
from orbitflow.step import PlanAnswer


class Moment(NamedTuple):
    """When to look: `since` are the ends of passes that the core has not been told of."""

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
    """What the core's last decision comes to at this moment.

    `solved` is what the planner answered while it was waited for.
    """
    look = _Look(core, scenario.true, policy.data_plane, moment)
    sequences = [*core.roster.active.values(), *core.roster.parked.values()]
    sequences.sort(key=lambda s: s.order)
    rows = [look.at_sequence(s) for s in sequences]
    rows += [look.at_waiting(r) for r in core.roster.waiting.values()]
    active = [s for s in sequences if s.state is not Phase.PARKED]
    decode = steady_pass(scenario, policy.data_plane, active, look.passes, core.account.ring_pages)
    memory = look.at_memory(sequences)
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

    def at_sequence(self, sequence: RequestState) -> RequestShown:
        return RequestShown(
            id=sequence.id,
            fate=_fate(sequence),
            context_tokens=sequence.context_tokens(self.passes),
            balance_s=self._balance_s(sequence),
            host_layers=sequence.target,
            gpu_bytes=self._gpu_pages(sequence) * self._page_bytes,
            streamed_bytes=self._streamed_bytes(sequence),
        )

    def at_waiting(self, request: Request) -> RequestShown:
        return RequestShown(request.id, Fate.WAITS, request.prompt_tokens + 1, None, (), 0, 0)

    def at_memory(self, sequences: list[RequestState]) -> MemoryShown:
        limits, account = self._limits, self._core.account
        pages = sum(limits.pages(s.context_tokens(self.passes)) for s in sequences)
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

    def _balance_s(self, sequence: RequestState) -> float | None:
        if not sequence.generated_tokens(self.passes):
            return None
        times = self._core.token_times_s(sequence)
        if sequence.state is Phase.RUNNING:
            times = np.concatenate([times, self._moment.since_s])
        return next_due_s(times, sequence.tau_s) - self._moment.now_s

    def _gpu_pages(self, sequence: RequestState) -> int:
        """Pages now, with everything where it is wanted."""
        limits, hosted = self._limits, len(sequence.target)
        context = sequence.context_tokens(self.passes)
        resident = (limits.layers - hosted) * limits.pages(context)
        if sequence.state is Phase.PARKED:
            return resident
        kept = ceil(self._read.kept_share * hosted * limits.full_pages(context))
        return resident + hosted + kept

    def _streamed_bytes(self, sequence: RequestState) -> int:
        if sequence.state is Phase.PARKED:
            return 0
        group = self._limits.full_pages(sequence.context_tokens(self.passes)) * self._page_bytes
        worked = len(self._read.worked_on(sequence.target))
        fetched = 0 if self._read.attends else floor(group * self._read.fetched_share)
        return (len(sequence.target) - worked) * group + worked * fetched


def _fate(sequence: RequestState) -> Fate:
    if sequence.state is Phase.RUNNING:
        return Fate.RUNS
    if sequence.state is Phase.PREFILL:
        return Fate.ADMITTED
    return Fate.DROPPED if not sequence.prefilled_tokens else Fate.PARKED


def _planner(policy: Policy, solved: PlanAnswer | None) -> PlannerShown | None:
    """What the policy's planner says of its last plan, if it made one.

    A plan is proven as well if the solver that was asked for a better one has proven its equal.
    """
    plan = getattr(policy, "last_draft", None)
    if plan is None:
        return None
    if isinstance(plan, Drafted):
        return _turn_shown(plan)
    problem: Problem = plan[0]
    answer: Answer = plan[1]
    worth, better = answer.score, None if solved is None else solved.body[1]
    proven = better is not None and better.is_proven and better.score.rank == worth.rank
    return PlannerShown(
        by=answer.by,
        is_proven=answer.is_proven or proven,
        asked_solver=solved is not None,
        passes=problem.passes,
        loss=worth.loss,
        late_tokens=worth.late_tokens,
        pass_s=worth.pass_s,
        first_pass_s=worth.first_pass_s,
        moved_pages=worth.moved_pages,
        at_rest=worth.at_rest,
        trouble=(None if better is None else better.trouble) or answer.trouble or None,
    )


def _turn_shown(plan: Drafted) -> PlannerShown:
    """What `orbit` says of its last turn."""
    worth, terms = plan.worth, plan.question.terms
    placed = [plan.staged.placed.get(member.id) for member in plan.question.members]
    loaded = [
        max(0.0, absent - len(host)) * pages
        for absent, pages, host in zip(terms.absent, terms.pages, placed, strict=True)
        if host is not None
    ]
    return PlannerShown(
        by=plan.by,
        is_proven=plan.gap <= PROVEN_GAP,
        asked_solver=False,
        passes=plan.question.passes,
        loss=worth.loss,
        late_tokens=worth.late_tokens,
        pass_s=worth.pass_s,
        first_pass_s=worth.first_pass_s,
        moved_pages=int(sum(loaded)),
        at_rest=len(plan.question.members) - worth.running,
        trouble=None,
    )
