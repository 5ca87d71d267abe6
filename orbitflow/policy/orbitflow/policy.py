"""`orbitflow`: a placement per request, planned ahead, with feedback, deposits, pausing and a gate.
`uniform-ilp`: the same planner with one placement for all, and only the refiner beside it.

After OrbitFlow (arXiv 2601.10729): every request has nothing on the host or one stride, at most
every second layer; the paper has an integer program pick them one step ahead. The mechanisms are
modules of their own, `planner`, `refiner`, `bank` (token deposit), `pausing`, `gate`; a flag takes
each out.

    decide:  newcomers (gate) -> draft (search, the program's last plan, or as it is) -> window
             with `--solver ilp` a plan request: the integer program answers beside the passes

Differs from the paper: lost tokens come first, not T; the window is computed from growth; the
staging ring is charged; pauses count as lateness; the fast search answers, and proves its plans for
few requests. In the simulator the search's own time (about a millisecond) is not charged, the
integer program's is, at the profile's planner latency.
"""

from __future__ import annotations

from math import inf
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.config import SolverName, Tuning
from orbitflow.engine.policy import DataPlane, Decision, Lengths, PlanningFigures, Policy, View
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import BatchPages, KvLimits
from orbitflow.placement import ALL_RESIDENT, RESIDENT, HostLayers, Placement
from orbitflow.planner.planner import SAME, Plan, improve
from orbitflow.planner.problem import Problem, paper_options
from orbitflow.policy.orbitflow.admission import Gate, SloAdmission
from orbitflow.policy.orbitflow.options import DEFAULT, OrbitFlowOptions
from orbitflow.policy.orbitflow.planning import (
    Draft,
    Drafter,
    window_of,
)
from orbitflow.policy.refiner import Refiner
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.policy.windows import RING_GROUPS, planned_passes, resident_window
from orbitflow.request import Request, RequestState
from orbitflow.step import Events, PlanRequest, Step, StepOutcome
from orbitflow.step import PlanAnswer as SolvedRequest

_TBT_LIMIT_S = attrgetter("tbt_limit_s")


class _Asked(NamedTuple):
    """What a plan request carries, and brings back with a better plan."""

    problem: Problem
    plan: Plan


class OrbitFlow(Policy):
    """The paper's policy, on honest books."""

    lengths = Lengths.QUANTILE

    def __init__(
        self,
        name: str = "orbitflow",
        tuning: Tuning | None = None,
        options: OrbitFlowOptions = DEFAULT,
    ) -> None:
        self.name = name
        self._constants = options
        self.data_plane = DataPlane(Overlap.RING, write_through=True, ring_groups=RING_GROUPS)
        self._is_uniform = tuning is not None
        self._take(tuning or Tuning())

    def configure(self, tuning: Tuning) -> None:
        """Take mechanisms out; `uniform-ilp` has none but the refiner anyway."""
        if self._is_uniform:
            tuning = uniform_tuning(tuning)
        self._take(tuning)

    def _take(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self.has_deposit = tuning.deposit
        self.admission = "while every SLO holds" if tuning.gate else "pages are free"

    def bind(self, limits: KvLimits, cost: CostModel) -> None:
        """Learn the machine; from then on the refiner's idea of it counts."""
        super().bind(limits, cost)
        tuning, overlap = self._tuning, self.data_plane.overlap
        self._options = options = paper_options(limits.layers)
        self._refiner = Refiner(cost)
        self._bank = TokenDeposit(is_on=tuning.deposit)
        self._gate = Gate(self._constants) if tuning.gate else None
        self.planning = PlanningFigures()
        self._drafter = Drafter(
            limits,
            overlap,
            options,
            tuning,
            self._constants,
            self.planning,
            is_uniform=self._is_uniform,
        )
        self._admission = SloAdmission(
            limits, options, RING_GROUPS, planned_passes(limits), self._gate, self._constants
        )
        self._tbt_limits_s: dict[int, float] = {}
        self._asked: tuple[int, tuple[int, ...]] = (0, ())  # plan requests so far, the last's ids
        self._window_end = 0
        self.last_draft: Draft | None = None  # of the last decision; None if it was plain

    @property
    def believes(self) -> CostModel:
        """The profile as the refiner has corrected it."""
        return self._refiner.cost

    # -- what the serving core calls ---------------------------------------------------------------

    def decide(self, view: View) -> Decision:
        """Admit whom the gate lets in, then place and pause as planned."""
        served = (*view.active, *view.paused)
        tightest_s = min(map(_TBT_LIMIT_S, served), default=inf)
        contexts, believed = view.contexts, self._refiner.cost
        newcomers = self._admission.newcomers(view, contexts, tightest_s, self._bank, believed)
        self.last_draft = None
        if not (served or newcomers):
            return Decision()
        for request in newcomers:
            self._tbt_limits_s[request.id] = view.tbt_limit_of(request)
        easy = self._easy(view, contexts, newcomers, tightest_s)
        if easy is not None:
            return easy
        members = sorted(served, key=lambda s: s.order)
        draft = self._draft(view, members, newcomers)
        while draft is None:
            if not newcomers:
                raise AssertionError("no plan fits, not even one request alone")
            newcomers.pop()
            draft = self._draft(view, members, newcomers)
        self.last_draft = draft
        return self._decision(view, newcomers, draft)

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """The smallest of its placements at the request's end."""
        limits = self.limits
        tokens = max(request.final_tokens, request.prompt_tokens + 1)
        alone = BatchPages(1, limits.pages(tokens), limits.full_pages(tokens))
        ring = 0 if limits.ring_is_extra else RING_GROUPS
        least = min(alone.gpu_pages(limits.layers, len(o), ring) for o in self._options)
        return least, limits.whole_pages(request.final_tokens)

    def observe(self, step: Step, outcome: StepOutcome, events: Events) -> bool:
        """Book tokens, learn from times; whether the plan should be made anew."""
        self._bank.add(step.decode_ids, outcome.pass_end_s)
        for request_id in events.first_tokens:
            self._bank.open(request_id, self._tbt_limits_s[request_id], outcome.end_s)
        for finished in events.finished:
            self._bank.close(finished.request.id)
            del self._tbt_limits_s[finished.request.id]
            if self._gate is not None:
                self._gate.finished(finished.request.output_tokens)
        if not (self._tuning.refine and self._refiner.learn(step, outcome)):
            return False
        assert self.planning is not None
        self.planning.drifts += 1
        return True

    def solve(self, request: PlanRequest) -> SolvedRequest:
        """Ask the integer program; beside the passes, so nothing here is changed."""
        problem, start = request.snapshot
        return SolvedRequest(
            request.id, _Asked(problem, improve(problem, start, self._constants.ilp_nodes))
        )

    def adopt(self, plan: SolvedRequest, now_s: float) -> None:
        """Consider the integer program's plan in the next decision."""
        problem, found = plan.body
        self._drafter.solved(problem, found)

    # -- inside ------------------------------------------------------------------------------------

    def _easy(
        self, view: View, contexts: IntArray, newcomers: list[Request], tightest_s: float
    ) -> Decision | None:
        """Everything on the GPU, where that fits and is fast enough: no question to ask."""
        if view.paused:
            return None
        if newcomers:
            contexts = np.append(contexts, [r.prompt_tokens + 1 for r in newcomers])
            tightest_s = min(tightest_s, *(self._tbt_limits_s[r.id] for r in newcomers))
        window = resident_window(self.limits, self._refiner.cost, contexts, tightest_s)
        if window is None:
            return None
        if self._admission.waits_for_balances:
            window = min(window, self._constants.retry_passes)
        return Decision(tuple(r.id for r in newcomers), placement=ALL_RESIDENT, window=window)

    def _draft(
        self, view: View, members: list[RequestState], newcomers: list[Request]
    ) -> Draft | None:
        return self._drafter.draft(view, members, newcomers, self._bank, self._refiner.cost)

    def _decision(self, view: View, newcomers: list[Request], draft: Draft) -> Decision:
        placed = draft.placed
        window = window_of(draft, pauses=self._tuning.pause)
        if self._admission.waits_for_balances:
            window = min(window, self._constants.retry_passes)
        decision = Decision(
            admit=tuple(r.id for r in newcomers),
            pause=tuple(s.id for s in view.active if s.id not in placed),
            resume=tuple(s.id for s in view.paused if s.id in placed),
            placement=_placement(placed),
            window=window,
            plan_request=self._plan_request(view, draft),
        )
        self._window_end = view.passes + window
        return decision

    def _plan_request(self, view: View, draft: Draft) -> PlanRequest | None:
        """With `--solver ilp`, ask the integer program once for each new set of requests, and at
        each window's end, unless nothing better is left to find.
        """
        if self._tuning.solver is not SolverName.ILP or draft.plan.gap <= SAME:
            return None
        count, last = self._asked
        ids = tuple(one.id for one in draft.problem.candidates)
        is_new = ids != last or view.passes >= self._window_end
        if view.is_planning or not is_new:
            return None
        self._asked = (count + 1, ids)
        return PlanRequest(count + 1, view.now_s, _Asked(draft.problem, draft.plan))


def _placement(placed: dict[int, HostLayers]) -> Placement:
    """The same for all if it is, for speed."""
    kinds = set(placed.values())
    return Placement(kinds.pop()) if len(kinds) == 1 else Placement(RESIDENT, placed)


def uniform_tuning(given: Tuning) -> Tuning:
    """What the paper's first ablation leaves of a tuning."""
    return Tuning(refine=given.refine, deposit=False, pause=False, gate=False, solver=given.solver)


def uniform_ilp() -> OrbitFlow:
    """One placement for all; no deposit, no pausing, no gate."""
    return OrbitFlow("uniform-ilp", uniform_tuning(Tuning()))
