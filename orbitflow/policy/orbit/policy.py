"""`orbit`: rate-based EDF admission, token deposits and rotation. Ours; design section 4.5.

    decide:  admit at most one (admission, by deadline and load)
             -> choose who runs and on which layers (rotation)
             -> load KV in the background for whoever runs next

The objective is the share of requests that meet both their TTFT and their TPOT limit. Requests are
admitted by deadline while all admitted ones can get their tokens in time, deposits included.
Inside, a plan for the next window runs some of them and pauses the others, so that few tokens come
late for the time that it takes. Output lengths are guessed from those of finished requests.
docs/orbit.md has the measurements.
"""

from __future__ import annotations

from math import inf

import numpy as np

from orbitflow.config import LengthsKnown, Tuning
from orbitflow.engine.policy import DataPlane, Decision, Lengths, PlanningFigures, Policy, View
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits
from orbitflow.placement import ALL_RESIDENT, RESIDENT, Placement
from orbitflow.policy.orbit.admission import DeadlineAdmission
from orbitflow.policy.orbit.forecast import Forecaster
from orbitflow.policy.orbit.load import LoadModel
from orbitflow.policy.orbit.options import DEFAULT, OrbitOptions
from orbitflow.policy.orbit.rotation import Rotation, Scene, TurnMaker
from orbitflow.policy.pausing import first_owed
from orbitflow.policy.refiner import Refiner
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.policy.windows import RING_GROUPS, planned_passes, resident_window
from orbitflow.request import Request, RequestState
from orbitflow.step import Events, Step, StepOutcome


class Orbit(Policy):
    """One per run; `options` replaces its constants, `configure` takes mechanisms out."""

    name = "orbit"
    admits_out_of_turn = True
    data_plane = DataPlane(Overlap.RING, write_through=True, ring_groups=RING_GROUPS)

    def __init__(self, options: OrbitOptions = DEFAULT) -> None:
        self._options = options
        self._take(Tuning())

    def configure(self, tuning: Tuning) -> None:
        """Take mechanisms out."""
        self._take(tuning)

    def _take(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self.has_deposit = tuning.deposit
        knows = tuning.lengths is LengthsKnown.ORACLE
        self.lengths = Lengths.ORACLE if knows else Lengths.QUANTILE
        self.admission = "EDF, rate-based" if tuning.gate else "EDF, pages are free"

    def bind(self, limits: KvLimits, cost: CostModel) -> None:
        """Learn the machine; from then on the refiner's idea of it counts."""
        super().bind(limits, cost)
        tuning = self._tuning
        self.planning = PlanningFigures()
        self._refiner = Refiner(cost)
        self._deposit = TokenDeposit(is_on=tuning.deposit)
        load = LoadModel(
            limits,
            ring_groups=RING_GROUPS,
            turn_passes=planned_passes(limits),
            rotates=tuning.pause,
        )
        self._forecaster = Forecaster(self._deposit, load, tuning, self._options)
        self._admission = DeadlineAdmission(limits, self._forecaster, load, tuning, self._options)
        self._drafter = TurnMaker(
            limits,
            self.data_plane.overlap,
            tuning,
            self._options,
            self.planning,
            self._forecaster,
        )
        self.last_draft: Rotation | None = None  # what is followed; None if everything is resident
        self._until = 0  # the pass that ends its window
        self._has_news = True  # something has happened since it was made

    @property
    def believes(self) -> CostModel:
        """The profile as the refiner has corrected it."""
        return self._refiner.cost

    # -- what the serving core calls ---------------------------------------------------------------

    def decide(self, view: View) -> Decision:
        """Admit at most one request, then plan the next window."""
        newcomer = self._admission.newcomer(view, self._refiner.cost)
        if newcomer is None and not (view.active or view.paused):
            self.last_draft = None
            return Decision()
        if newcomer is None and self.last_draft and not self._is_stale(view):
            return self._decision(view, None, self.last_draft, self._until - view.passes)
        self.last_draft = None
        resident = self._all_resident(view, newcomer)
        if resident is not None:
            self._admit(view, newcomer)
            return resident
        members = sorted((*view.active, *view.paused), key=lambda s: s.order)
        draft = self._draft(view, members, newcomer)
        if draft is None and newcomer is not None:
            newcomer, draft = None, self._draft(view, members, None) if members else None
        if draft is None:  # background loads have taken the room, and cannot be called back
            return Decision(pause=tuple(s.id for s in view.active), window=1)
        self._admit(view, newcomer)
        self.last_draft = draft
        window = draft.staged.window
        starving_s = self._options.starving_passes * draft.plan.score.pass_s
        if draft.plan.score.first_pass_s > starving_s or draft.starved:
            # What loads in the background may be kept from coming: look again soon.
            window = min(window, self._options.retry_passes)
        self._until = view.passes + window
        self._has_news = False
        return self._decision(view, newcomer, draft, window)

    def observe(self, step: Step, outcome: StepOutcome, events: Events) -> bool:
        """Book tokens, learn from times; whether the plan should be made anew."""
        self._deposit.add(step.decode_ids, outcome.pass_end_s)
        self._forecaster.observe(outcome, events)
        self._admission.observe(self._refiner.cost, step, outcome)
        is_transfer = not (step.passes or step.chunks)
        self._has_news = (
            self._has_news or is_transfer or bool(events.first_tokens or events.finished)
        )
        if not (self._tuning.refine and self._refiner.learn(step, outcome)):
            return is_transfer
        assert self.planning is not None
        self.planning.drifts += 1
        self._has_news = True
        return True

    # -- inside ------------------------------------------------------------------------------------

    def _is_stale(self, view: View) -> bool:
        """Whether the last plan's window is over, or something has happened in it."""
        return self._has_news or view.passes >= self._until

    def _all_resident(self, view: View, newcomer: Request | None) -> Decision | None:
        """Everything on the GPU, if that fits and is fast enough: then there is nothing to plan."""
        if view.paused:
            return None
        contexts = view.contexts
        if newcomer is not None:
            contexts = np.append(contexts, newcomer.prompt_tokens + 1)
        least_s = self._forecaster.least_tbt_limit_s
        tbt_limit_s = min(
            inf if least_s is None else least_s,
            inf if newcomer is None else view.tbt_limit_of(newcomer),
        )
        window = resident_window(self.limits, self._refiner.cost, contexts, tbt_limit_s)
        if window is None:
            return None
        admit = () if newcomer is None else (newcomer.id,)
        return Decision(admit, placement=ALL_RESIDENT, window=self._short(window))

    def _admit(self, view: View, newcomer: Request | None) -> None:
        if newcomer is not None:
            self._admission.admitted(view, newcomer)
            self._forecaster.admitted(view, newcomer)

    def _draft(
        self, view: View, members: list[RequestState], newcomer: Request | None
    ) -> Rotation | None:
        cost, owed = self._refiner.cost, first_owed(members, self._deposit, view.now_s)

        def must_run(s: RequestState) -> bool:
            return s.id == owed or not self._tuning.pause

        scene = Scene(view, members, newcomer, cost, must_run)
        return self._drafter.draft(scene)

    def _decision(
        self, view: View, newcomer: Request | None, draft: Rotation, window: int
    ) -> Decision:
        placed = draft.staged.placed
        return Decision(
            admit=() if newcomer is None else (newcomer.id,),
            pause=tuple(s.id for s in view.active if s.id not in placed),
            resume=tuple(s.id for s in view.paused if s.id in placed),
            placement=Placement(RESIDENT, {**placed, **draft.staged.loaded}),
            window=self._short(window),
        )

    def _short(self, window: int) -> int:
        return min(window, self._options.retry_passes) if self._admission.has_refused else window
