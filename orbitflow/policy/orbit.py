"""`orbit`: deadlines at the door, turns inside. Ours; design section 4.5, docs/orbit.md.

    decide:  whom to let in (deadlines, feed) -> who runs and on which layers (turns) -> background
             loads for whoever is next

Wanted is the largest share of requests that meet both their limits. Requests are let in by deadline
while everybody can be fed by turns at the pace of the SLO, balances included; inside, each turn
runs those for whom, and streams where, the fewest tokens come late for the time that it takes.
Output lengths are guessed from those of finished requests.
"""

from __future__ import annotations

import numpy as np

from orbitflow.config import LengthsKnown, Tuning
from orbitflow.engine.policy import DataPlane, Decision, Lengths, PlanningFigures, Policy, View
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import BatchPages, KvLimits
from orbitflow.placement import ALL_RESIDENT, RESIDENT, Placement
from orbitflow.policy.orbit.admission import DeadlineAdmission
from orbitflow.policy.orbit.forecast import Forecaster
from orbitflow.policy.orbit.load import LoadModel
from orbitflow.policy.orbit.rotation import STARVING, Drafted, Drafter, Scene, planned_passes
from orbitflow.policy.orbitflow.planning import RING_GROUPS, resident_window
from orbitflow.policy.pausing import first_owed
from orbitflow.policy.refiner import Refiner
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Request, RequestState
from orbitflow.step import Events, Step, StepOutcome

RETRY_PASSES = 16  # until the door looks again at who could not be let in


class Orbit(Policy):
    """Rate- and deadline-aware admission, deposits, rotation."""

    name = "orbit"
    admits_out_of_turn = True
    data_plane = DataPlane(Overlap.RING, write_through=True, ring_groups=RING_GROUPS)

    def __init__(self) -> None:
        self._take(Tuning())

    def configure(self, tuning: Tuning) -> None:
        """Take mechanisms out."""
        self._take(tuning)

    def _take(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self.has_deposit = tuning.deposit
        knows = tuning.lengths is LengthsKnown.ORACLE
        self.lengths = Lengths.ORACLE if knows else Lengths.QUANTILE
        self.admission = "can be fed, by deadline" if tuning.gate else "smallest fits"

    def bind(self, limits: KvLimits, cost: CostModel) -> None:
        """Learn the machine; from then on the refiner's idea of it counts."""
        super().bind(limits, cost)
        tuning = self._tuning
        self.planning = PlanningFigures()
        self._refiner = Refiner(cost)
        self._bank = TokenDeposit(banks=tuning.deposit)
        self._lookahead = planned_passes(limits)
        feeder = LoadModel(
            limits, ring_groups=RING_GROUPS, turn_passes=self._lookahead, rotates=tuning.pause
        )
        self._prospects = Forecaster(self._bank, feeder, tuning)
        self._door = DeadlineAdmission(limits, self._prospects, feeder, tuning)
        prospects = self._prospects
        self._drafter = Drafter(limits, tuning, self.planning, prospects.weight, prospects.due_s)
        self.last_draft: Drafted | None = None  # what is followed; None if everything is resident
        self._until = 0  # the pass that ends its window
        self._news = True  # something has happened since it was made

    @property
    def believes(self) -> CostModel:
        """The profile as the refiner has corrected it."""
        return self._refiner.cost

    # -- what the serving core calls ---------------------------------------------------------------

    def decide(self, view: View) -> Decision:
        """Let at most one in, then say whose turn it is."""
        members = sorted((*view.active, *view.parked), key=lambda s: s.order)
        newcomer = self._door.newcomer(view, self._refiner.cost, members)
        if not members and newcomer is None:
            self.last_draft = None
            return Decision()
        if newcomer is None and not self._news and self.last_draft and view.passes < self._until:
            return self._decision(view, None, self.last_draft, self._until - view.passes)
        self.last_draft = None
        easy = self._easy(view, members, newcomer)
        if easy is not None:
            self._let_in(view, newcomer)
            return easy
        draft = self._draft(view, members, newcomer)
        if draft is None and newcomer is not None:
            newcomer, draft = None, self._draft(view, members, None) if members else None
        if draft is None:  # loads that nobody can call back have taken the room: let them end
            return Decision(park=tuple(s.id for s in view.active), window=1)
        self._let_in(view, newcomer)
        self.last_draft = draft
        window = draft.staged.window
        if draft.worth.first_pass_s > STARVING * draft.worth.pass_s or draft.starved:
            window = min(window, RETRY_PASSES)  # is what comes on its way, or kept from coming?
        self._until = view.passes + window
        self._news = False
        return self._decision(view, newcomer, draft, window)

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """With every layer on the host, or none, whichever takes less."""
        limits = self.limits
        tokens = max(request.final_tokens, request.prompt_tokens + 1)
        alone = BatchPages(1, limits.pages(tokens), limits.full_pages(tokens))
        ring = 0 if limits.ring_is_extra else RING_GROUPS
        least = min(alone.gpu_pages(limits.layers, h, ring) for h in (0, limits.layers))
        return least, limits.whole_pages(request.final_tokens)

    def observe(self, step: Step, outcome: StepOutcome, events: Events) -> bool:
        """Book tokens, learn from times; whether the plan should be made anew."""
        self._bank.add(step.decode_ids, outcome.pass_end_s)
        self._prospects.observe(outcome, events)
        self._door.observe(self._refiner.cost, step, outcome)
        is_transfer = not (step.passes or step.chunks)
        self._news = self._news or is_transfer or bool(events.first_tokens or events.finished)
        if not (self._tuning.refine and self._refiner.learn(step, outcome)):
            return is_transfer
        assert self.planning is not None
        self.planning.drifts += 1
        self._news = True
        return True

    # -- the turns ---------------------------------------------------------------------------------

    def _easy(
        self, view: View, members: list[RequestState], newcomer: Request | None
    ) -> Decision | None:
        """Everything on the GPU, where that fits and is fast enough: no question to ask."""
        if view.parked:
            return None
        arriving = [] if newcomer is None else [newcomer.prompt_tokens + 1]
        contexts = np.concatenate([view.contexts, np.array(arriving, dtype=np.int64)])
        taus = [s.tau_s for s in members]
        tau_s = min(taus) if newcomer is None else min((*taus, view.tau_of(newcomer)))
        window = resident_window(self.limits, self._refiner.cost, contexts, tau_s, self._lookahead)
        if window is None:
            return None
        admit = () if newcomer is None else (newcomer.id,)
        return Decision(admit, placement=ALL_RESIDENT, window=self._short(window))

    def _let_in(self, view: View, newcomer: Request | None) -> None:
        if newcomer is not None:
            self._door.let_in(view, newcomer)
            self._prospects.let_in(view, newcomer)

    def _draft(
        self, view: View, members: list[RequestState], newcomer: Request | None
    ) -> Drafted | None:
        cost, owed = self._refiner.cost, first_owed(members, self._bank, view.now_s)

        def must_run(s: RequestState) -> bool:
            return s.id == owed or not self._tuning.pause

        scene = Scene(view, members, newcomer, cost, must_run)
        return self._drafter.draft(scene)

    def _decision(
        self, view: View, newcomer: Request | None, draft: Drafted, window: int
    ) -> Decision:
        placed = draft.staged.placed
        return Decision(
            admit=() if newcomer is None else (newcomer.id,),
            park=tuple(s.id for s in view.active if s.id not in placed),
            resume=tuple(s.id for s in view.parked if s.id in placed),
            placement=Placement(RESIDENT, {**placed, **draft.staged.loaded}),
            window=self._short(window),
        )

    def _short(self, window: int) -> int:
        return min(window, RETRY_PASSES) if self._door.has_refused else window
