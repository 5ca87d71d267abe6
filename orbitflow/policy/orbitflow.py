"""`orbitflow`: a placement per request, planned ahead, with feedback, deposits, pausing and a gate.
`uniform-ilp`: the same planner with one placement for all, and only the refiner beside it.

After OrbitFlow (arXiv 2601.10729): every request has nothing on the host or one stride, at most
every second layer; an integer program picks them one step ahead. The mechanisms are modules of
their own, `planner`, `refiner`, `bank` (token deposit), `pausing`, `gate`; a flag takes each out.

    decide:  newcomers (gate) -> draft (search, ILP's last answer, or as it is) -> window (validity)
             where the search has proven too little, a plan request: the ILP answers beside passes

Differs from the paper: lost tokens come first, not T; the window is computed from growth; the
staging ring is charged; pauses count as lateness. In the simulator the search's own time (about a
millisecond) is not charged, the ILP's is, at the profile's planner latency.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.config import Tuning
from orbitflow.engine.policy import DataPlane, Decision, Lengths, PlanningFigures, Policy, View
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import BatchPages, KvLimits
from orbitflow.placement import ALL_RESIDENT, RESIDENT, HostLayers, Placement
from orbitflow.planner.planner import Answer, improve, is_worth_solving
from orbitflow.planner.problem import Problem, paper_options
from orbitflow.policy.orbitflow.admission import Gate, SloAdmission
from orbitflow.policy.orbitflow.planning import (
    RING_GROUPS,
    Drafter,
    placed_by,
    resident_window,
    window_of,
)
from orbitflow.policy.orbitflow.planning import Plan as Draft
from orbitflow.policy.refiner import Refiner
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Request, RequestState
from orbitflow.step import Events, PlanAnswer, PlanRequest, Step, StepOutcome

ILP_NODES = 20
RETRY_PASSES = 16  # until the gate looks again at who waits for balances to grow


class _Question(NamedTuple):
    """What a plan request carries, and a plan brings back with a better answer."""

    problem: Problem
    answer: Answer


class OrbitFlow(Policy):
    """The paper's policy, on honest books."""

    lengths = Lengths.QUANTILE

    def __init__(self, name: str = "orbitflow", tuning: Tuning | None = None) -> None:
        self.name = name
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
        self.admission = "nobody is hurt" if tuning.gate else "smallest fits"

    def bind(self, limits: KvLimits, cost: CostModel) -> None:
        """Learn the machine; from then on the refiner's idea of it counts."""
        super().bind(limits, cost)
        tuning, overlap = self._tuning, self.data_plane.overlap
        self._options = options = paper_options(limits.layers)
        self._refiner = Refiner(cost)
        self._bank = TokenDeposit(banks=tuning.deposit)
        self._gate = Gate() if tuning.gate else None
        self.planning = PlanningFigures()
        self._drafter = Drafter(
            limits, overlap, options, tuning, self.planning, is_uniform=self._is_uniform
        )
        self._lookahead = self._drafter.lookahead_tokens
        self._admission = SloAdmission(limits, options, RING_GROUPS, self._lookahead, self._gate)
        self._taus: dict[int, float] = {}
        self._asked: tuple[int, tuple[int, ...]] = (0, ())  # plan requests so far, the last's ids
        self._window_end = 0
        self.last_draft: Draft | None = None  # of the last decision; None if it was plain

    @property
    def believes(self) -> CostModel:
        """The profile as the refiner has corrected it."""
        return self._refiner.cost

    # -- what the serving core calls ---------------------------------------------------------------

    def decide(self, view: View) -> Decision:
        """Admit whom the gate lets in, then place and park as planned."""
        members = sorted((*view.active, *view.parked), key=lambda s: s.order)
        newcomers = self._admission.newcomers(view, members, self._bank, self._refiner.cost)
        self.last_draft = None
        if not (members or newcomers):
            return Decision()
        for request in newcomers:
            self._taus[request.id] = view.tau_of(request)
        easy = self._easy(view, members, newcomers)
        if easy is not None:
            return easy
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
            self._bank.open(request_id, self._taus[request_id], outcome.end_s)
        for finished in events.finished:
            self._bank.close(finished.request.id)
            del self._taus[finished.request.id]
            if self._gate is not None:
                self._gate.finished(finished.request.output_tokens)
        if not (self._tuning.refine and self._refiner.learn(step, outcome)):
            return False
        assert self.planning is not None
        self.planning.drifts += 1
        return True

    def solve(self, request: PlanRequest) -> PlanAnswer:
        """Ask the ILP; beside the passes, so nothing here is changed."""
        problem, start = request.snapshot
        answer = improve(problem, start, self._tuning.solver, ILP_NODES)
        return PlanAnswer(request.id, _Question(problem, answer))

    def adopt(self, plan: PlanAnswer, now_s: float) -> None:
        """Consider the ILP's plan in the next decision."""
        problem, answer = plan.body
        self._drafter.solved(problem, answer)

    # -- inside ------------------------------------------------------------------------------------

    def _easy(
        self, view: View, members: list[RequestState], newcomers: list[Request]
    ) -> Decision | None:
        """Everything on the GPU, where that fits and is fast enough: no question to ask."""
        if view.parked:
            return None
        arriving = [r.prompt_tokens + 1 for r in newcomers]
        contexts = np.concatenate([view.contexts, np.array(arriving, dtype=np.int64)])
        tau_s = min((*(s.tau_s for s in members), *(self._taus[r.id] for r in newcomers)))
        window = resident_window(self.limits, self._refiner.cost, contexts, tau_s, self._lookahead)
        if window is None:
            return None
        if self._admission.waits_for_balances:
            window = min(window, RETRY_PASSES)
        return Decision(tuple(r.id for r in newcomers), placement=ALL_RESIDENT, window=window)

    def _draft(
        self, view: View, members: list[RequestState], newcomers: list[Request]
    ) -> Draft | None:
        return self._drafter.draft(view, members, newcomers, self._bank, self._refiner.cost)

    def _decision(self, view: View, newcomers: list[Request], draft: Draft) -> Decision:
        placed = placed_by(draft)
        window = window_of(draft, placed, pauses=self._tuning.pause)
        if self._admission.waits_for_balances:
            window = min(window, RETRY_PASSES)
        decision = Decision(
            admit=tuple(r.id for r in newcomers),
            park=tuple(s.id for s in view.active if s.id not in placed),
            resume=tuple(s.id for s in view.parked if s.id in placed),
            placement=_placement(placed),
            window=window,
            plan_request=self._plan_request(view, draft),
        )
        self._window_end = view.passes + window
        return decision

    def _plan_request(self, view: View, draft: Draft) -> PlanRequest | None:
        """Ask the ILP once for each new set of requests, and at each window's end."""
        count, last = self._asked
        ids = tuple(asked.id for asked in draft.problem.requests)
        is_new = ids != last or view.passes >= self._window_end
        if view.is_planning or not is_new or not is_worth_solving(draft.problem, draft.answer):
            return None
        self._asked = (count + 1, ids)
        return PlanRequest(count + 1, view.now_s, _Question(draft.problem, draft.answer))


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
