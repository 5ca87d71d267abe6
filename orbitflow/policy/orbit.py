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

from orbitflow.bank import Bank
from orbitflow.cost import CostModel
from orbitflow.memory import BatchPages, KvLimits
from orbitflow.pipeline import Overlap
from orbitflow.placement import ALL_RESIDENT, RESIDENT, Placement
from orbitflow.policy.base import DataPlane, Decision, Lengths, Policy, View
from orbitflow.policy.deadlines import Candidate, Deadlines
from orbitflow.policy.draft import RING_GROUPS
from orbitflow.policy.feed import Feeder, Mouth
from orbitflow.policy.figures import PlanningFigures
from orbitflow.policy.lengths import OutputLengths
from orbitflow.policy.pausing import first_owed
from orbitflow.policy.turns import Drafted, Drafter, Scene
from orbitflow.policy.validity import resident_window
from orbitflow.refiner import Refiner
from orbitflow.request import Request
from orbitflow.sequence import Sequence, State
from orbitflow.step import Events, Step, StepOutcome
from orbitflow.tuning import LengthsKnown, Tuning

RECOVERY = 1.75  # load beyond 1 that is risked, by the share of time left to catch up in
FRESH_LOAD = 1.0  # up to which requests are let in that can still make their TTFT limit
URGENT = 128.0  # tau before it is too late for that, when more is risked for them
LATE_LOAD = 0.85  # up to which late ones are: what is left over is for fresh ones to come
HURT_TOKENS = 8.0  # that a prompt may make late, over all who are being read to
RETRY_PASSES = 16  # until the door looks again at who could not be let in
BANK_SHARE = 0.8  # of a balance that the door counts on
PREFILL_MEMORY = 256  # tau over which the share of time that prompts take is averaged


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
        self._bank = Bank(banks=tuning.deposit)
        self._lengths = OutputLengths(is_oracle=tuning.lengths is LengthsKnown.ORACLE)
        self._deadlines = Deadlines()
        self._drafter = Drafter(limits, tuning, self.planning, self._weight)
        self._lookahead = self._drafter.planned_passes
        self._feeder = Feeder(
            limits, ring_groups=RING_GROUPS, turn_passes=self._lookahead, rotates=tuning.pause
        )
        self._taus: dict[int, float] = {}
        self._due_s: dict[int, float] = {}  # of first tokens
        self._lost: set[int] = set()  # have missed their TTFT limit
        self._refused = False  # somebody could not be let in
        self._prefill_share = 0.0
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
        newcomer = self._newcomer(view, members)
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
            newcomer, draft = None, self._draft(view, members, None)
        if draft is None:  # loads that nobody can call back have taken the room: let them end
            return Decision(park=tuple(s.id for s in view.active), window=1)
        self._let_in(view, newcomer)
        self.last_draft = draft
        self._until = view.passes + draft.staged.window
        self._news = False
        return self._decision(view, newcomer, draft, draft.staged.window)

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
        for request_id in events.first_tokens:
            self._bank.open(request_id, self._taus[request_id], outcome.end_s)
            if outcome.end_s > self._due_s[request_id]:
                self._lost.add(request_id)
        for finished in events.finished:
            self._bank.close(finished.request.id)
            del self._taus[finished.request.id], self._due_s[finished.request.id]
            self._lost.discard(finished.request.id)
            self._lengths.finished(finished.request.output_tokens)
        self._book_prefill(step, outcome)
        is_transfer = not (step.passes or step.chunks)
        self._news = self._news or is_transfer or bool(events.first_tokens or events.finished)
        if not (self._tuning.refine and self._refiner.learn(step, outcome)):
            return is_transfer
        assert self.planning is not None
        self.planning.drifts += 1
        self._news = True
        return True

    # -- the door ----------------------------------------------------------------------------------

    def _newcomer(self, view: View, members: list[Sequence]) -> Request | None:
        self._refused = False
        if view.batch_room <= 0 or any(s.state is State.PREFILL for s in members):
            return None
        for candidate in self._deadlines.candidates(view, self._refiner.cost.prefill_s):
            request = candidate.request
            if view.account.host_free < self.limits.whole_pages(request.final_tokens):
                continue
            if not members or not self._tuning.gate or self._is_welcome(view, members, candidate):
                return request
            self._refused = True
        return None

    def _is_welcome(self, view: View, members: list[Sequence], candidate: Candidate) -> bool:
        """Whether everybody can still be fed, and few tokens come late for its prompt."""
        cost, request = self._refiner.cost, candidate.request
        prefill_s = cost.prefill_s(request.prompt_tokens)
        mouths, hurt = [], 0.0
        for s in members:
            due_s = self._bank.due_s(s.id)
            assert due_s is not None
            balance_s = due_s - view.now_s - prefill_s
            hurt += max(0.0, -balance_s) / s.tau_s
            left = self._lengths.left(s.request, s.generated_tokens(view.passes))
            pace_s = s.tau_s + BANK_SHARE * max(0.0, balance_s) / left
            mouths.append(Mouth(s.context_tokens(view.passes) + left // 2, pace_s))
        left = self._lengths.left(request, 0)
        mouths.append(Mouth(request.prompt_tokens + left // 2, view.tau_of(request)))
        if hurt > HURT_TOKENS:
            return False
        limit = self._load_limit(view, candidate) * (1 - self._prefill_share)
        return self._feeder.load(cost, mouths) <= limit

    def _load_limit(self, view: View, candidate: Candidate) -> float:
        """Up to which load a request is let in."""
        if candidate.starts_s is None:
            return LATE_LOAD
        tau_s = view.tau_of(candidate.request)
        if candidate.starts_s - view.now_s > URGENT * tau_s:
            return FRESH_LOAD
        alone_s = self._refiner.cost.decode_pass_s(1, candidate.request.prompt_tokens)
        return 1 + RECOVERY * max(0.0, 1 - alone_s / tau_s)

    def _let_in(self, view: View, newcomer: Request | None) -> None:
        if newcomer is None:
            return
        is_oldest = newcomer.id == next(iter(view.waiting)).id
        self._deadlines.admitted(newcomer, is_oldest=is_oldest)
        self._taus[newcomer.id] = view.tau_of(newcomer)
        self._due_s[newcomer.id] = newcomer.arrival_s + view.ttft_of(newcomer)

    def _book_prefill(self, step: Step, outcome: StepOutcome) -> None:
        """The share of time that prompts take, averaged over PREFILL_MEMORY tau."""
        took_s = outcome.end_s - outcome.start_s
        if took_s <= 0 or not self._taus:
            return
        prompts_s = min(
            took_s, sum(self._refiner.cost.chunk_s(c.tokens, c.start) for c in step.chunks)
        )
        memory_s = PREFILL_MEMORY * min(self._taus.values())
        kept = float(np.exp(-took_s / memory_s))
        self._prefill_share = kept * self._prefill_share + (1 - kept) * prompts_s / took_s

    # -- the turns ---------------------------------------------------------------------------------

    def _weight(self, sequence: Sequence) -> float:
        return self._tuning.lost_weight if sequence.id in self._lost else 1.0

    def _easy(
        self, view: View, members: list[Sequence], newcomer: Request | None
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

    def _draft(
        self, view: View, members: list[Sequence], newcomer: Request | None
    ) -> Drafted | None:
        cost, owed = self._refiner.cost, first_owed(members, self._bank, view.now_s)

        def must_run(s: Sequence) -> bool:
            return s.id == owed or not self._tuning.pause

        scene = Scene(view, members, newcomer, self._bank, cost, must_run)
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
        return min(window, RETRY_PASSES) if self._refused else window
