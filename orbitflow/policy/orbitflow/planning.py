"""From the server as it stands to a plan, and how long it is followed.

    draft:  (members, newcomers) -> Problem -> the fast search's plan
            the integer program's plan instead, if one has come for these requests and is better
            what runs now instead, if the new plan is not worth its moves

Where growth leaves no room for all that must run, the latest arrivals rest, as few as can. Without
pausing that is the only reason to rest. A plan is followed for W passes, while its memory lasts and
the balances that it spends do:

    W = min(growth,
            (due_r - L x_r - T) / T      for who rests, so that it is back when its token is due,
            due_r / (T - tbt_limit_r)    for who runs slower than its limit,
            OWED_PASSES                  while somebody's turn cannot be put off)

with x_r the link seconds of one layer. Whoever loses tokens anyway is looked at again after
RESTED_PASSES or DRAINED_PASSES.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.config import Tuning
from orbitflow.engine.policy import PlanningFigures, View
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import BatchPages, KvLimits, longest_window
from orbitflow.placement import RESIDENT, HostLayers
from orbitflow.planner.planner import SAME, Plan, as_it_is, quick
from orbitflow.planner.problem import REST, Candidate, Problem, Weights
from orbitflow.policy.pausing import OWED_PASSES, RESTED_PASSES, first_owed, rest_order
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Phase, Request, RequestState

LOOKAHEAD_PAGES = 2  # plans are made for that much growth; the window is then as long as they hold
LAST_RESORTS = (4, 1)  # passes to plan for where less growth fits
WORTH_TOKENS = 0.1  # loss that a new plan must avoid to be worth its moves
RING_GROUPS = 2
LONGEST_WINDOW = 4096  # passes
DRAINED_PASSES = 8  # balances that run out ask for a new plan no oftener
# Weights, in late tokens: without the first a plan rests everybody who has a balance to save a
# fraction of somebody's token; the second chooses the shorter pass of plans that lose the same.
FORGONE = 0.05  # of a token that a request at rest does not get made
LIMIT = 0.01  # of a window's time, for each of the tightest limit between tokens


class Draft(NamedTuple):
    """A problem with the plan that is followed; `is_owed`: somebody's turn cannot be put off."""

    problem: Problem
    plan: Plan
    is_owed: bool

    @property
    def placed(self) -> dict[int, HostLayers]:
        """Host layers of the requests that run, by id."""
        placements = self.problem.placements or ()
        pairs = zip(self.problem.candidates, self.plan.options, strict=True)
        return {one.id: placements[option] for one, option in pairs if option != REST}


class Drafter:
    """Makes plans for one server."""

    def __init__(
        self,
        limits: KvLimits,
        overlap: Overlap,
        placements: tuple[HostLayers, ...],
        tuning: Tuning,
        figures: PlanningFigures,
        *,
        is_uniform: bool,
    ) -> None:
        self._limits = limits
        self._overlap = overlap
        self._placements = placements
        self._tuning = tuning
        self._figures = figures
        self._is_uniform = is_uniform
        self._solved: tuple[tuple[int, ...], Plan] | None = None

    @property
    def lookahead_tokens(self) -> int:
        """Growth that plans are made for."""
        return LOOKAHEAD_PAGES * self._limits.page_tokens

    def solved(self, problem: Problem, plan: Plan) -> None:
        """A plan of the integer program has come; the next draft considers it."""
        self._solved = (tuple(one.id for one in problem.candidates), plan)
        self._figures.improved += plan.by == "ilp"
        if plan.trouble:
            self._figures.troubles.append(plan.trouble)

    def draft(
        self,
        view: View,
        members: list[RequestState],
        newcomers: list[Request],
        bank: TokenDeposit,
        cost: CostModel,
    ) -> Draft | None:
        """The best plan known for these; None if none fits. `members` in order of arrival."""
        owed = first_owed(members, bank, view.now_s) if self._tuning.pause else None
        candidates = self._candidates(view, members, newcomers, bank, owed)
        order = None
        if self._tuning.pause:
            order = rest_order(self._tuning.victim, members, view.passes)
        second = LIMIT / min(one.tbt_limit_s for one in candidates)
        weights = Weights((FORGONE,) * len(candidates), second)
        for passes in (self.lookahead_tokens, self._limits.page_tokens, *LAST_RESORTS):
            problem = Problem(
                cost,
                self._limits,
                self._overlap,
                RING_GROUPS,
                passes,
                candidates,
                self._placements,
                weights,
                self._is_uniform,
                order,
            )
            plan = quick(problem)
            if plan is None and not newcomers:
                problem, plan = self._forced(problem, owed)
            if plan is not None:
                self._figures.searches += 1
                self._figures.proven += plan.is_proven
                return Draft(problem, self._considered(problem, plan, members), owed is not None)
        return None

    def _candidates(
        self,
        view: View,
        members: list[RequestState],
        newcomers: list[Request],
        bank: TokenDeposit,
        owed: int | None,
    ) -> tuple[Candidate, ...]:
        found = []
        for s in members:
            due_s = bank.due_s(s.id)
            left_s = 0.0 if due_s is None else due_s - view.now_s
            rests = self._tuning.pause and s.id != owed and s.phase is not Phase.PREFILL
            context = s.context_tokens(view.passes)
            found.append(Candidate(s.id, context, s.tbt_limit_s, left_s, s.host, rests))
        for r in newcomers:
            context = r.prompt_tokens + 1
            found.append(Candidate(r.id, context, view.tbt_limit_of(r), inf, RESIDENT, False))
        return tuple(found)

    def _forced(self, problem: Problem, owed: int | None) -> tuple[Problem, Plan | None]:
        """The latest arrivals may rest as well, as few as can, but the first or who is owed.
        Halved, as the more may rest the more room there is.
        """
        ids = [one.id for one in problem.candidates]
        stays = owed if owed is not None else ids[0]
        latest = [i for i in reversed(ids) if i != stays]
        found: tuple[Problem, Plan | None] = problem, None
        too_few, enough = 0, len(latest) + 1
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            forced = set(latest[:middle])
            eased = tuple(
                one._replace(may_rest=one.may_rest or one.id in forced)
                for one in problem.candidates
            )
            relaxed = replace(problem, candidates=eased, rest_order=None)
            plan = quick(relaxed)
            if plan is None:
                too_few = middle
            else:
                found, enough = (relaxed, plan), middle
        return found

    def _considered(self, problem: Problem, plan: Plan, members: list[RequestState]) -> Plan:
        if self._solved is not None:
            ids, solved = self._solved
            self._solved = None
            if ids == tuple(one.id for one in problem.candidates):
                again = as_it_is(problem, solved.options, solved.by)
                margin = SAME * max(1.0, plan.score.loss)
                if again is not None and again.score.loss < plan.score.loss - margin:
                    plan = again._replace(gap=min(solved.gap, plan.gap), trouble=solved.trouble)
        now = self._as_it_is(problem, members)
        kept = None if now is None else as_it_is(problem, now)
        if kept is not None and _is_as_good(kept, plan):
            self._figures.kept += 1
            return kept._replace(gap=plan.gap)
        return plan

    def _as_it_is(self, problem: Problem, members: list[RequestState]) -> tuple[int, ...] | None:
        """What runs now as options, if it is any."""
        if len(problem.candidates) != len(members):
            return None
        chosen = []
        for s in members:
            if s.phase is Phase.PAUSED:
                chosen.append(REST)
            elif s.target in self._placements:
                chosen.append(self._placements.index(s.target))
            else:
                return None
        return tuple(chosen)


def resident_window(
    limits: KvLimits, cost: CostModel, contexts: IntArray, tbt_limit_s: float, lookahead: int
) -> int | None:
    """Passes for which everything on the GPU is sure to fit; None where it does not fit for
    `lookahead` tokens of growth, or a pass takes longer than the limit.
    """
    near = BatchPages.of(limits, contexts, lookahead - 1)
    free = limits.gpu_pages - limits.layers * near.pages
    if free < 0 or cost.decode_pass_s(len(contexts), int(contexts.sum())) > tbt_limit_s:
        return None
    pages = free // (len(contexts) * limits.layers)  # one more of each layer for everybody
    return min(lookahead + pages * limits.page_tokens, LONGEST_WINDOW)


def window_of(draft: Draft, *, pauses: bool) -> int:
    """Passes until the policy should look again."""
    problem, placed, pass_s = draft.problem, draft.placed, draft.plan.score.pass_s
    running = [one for one in problem.candidates if one.id in placed]
    window = longest_window(
        problem.limits,
        np.array([one.context_tokens for one in running]),
        [placed[one.id] for one in running],
        RING_GROUPS,
        LONGEST_WINDOW,
    )
    if not pauses:
        return max(1, window)
    back_s = problem.limits.layers * problem.terms.link_s
    for one, its_back_s in zip(problem.candidates, back_s.tolist(), strict=True):
        if one.id not in placed:
            spare = int((one.due_s - its_back_s - pass_s) / pass_s)
            window = min(window, spare if spare >= DRAINED_PASSES else RESTED_PASSES)
        elif pass_s > one.tbt_limit_s and one.due_s > 0:
            lasts = min(one.due_s / (pass_s - one.tbt_limit_s), window)
            window = min(window, max(DRAINED_PASSES, int(lasts)))
    return max(1, min(window, OWED_PASSES) if draft.is_owed else window)


def _is_as_good(kept: Plan, new: Plan) -> bool:
    """Whether a new plan is not worth its moves: it avoids too little loss, and takes no less time
    over the window, moves included.
    """
    if kept.score.loss > new.score.loss + WORTH_TOKENS:
        return False
    return kept.score.span_s <= new.score.span_s + 1e-9
