"""From the server as it stands to a plan, and how long it is followed.

    draft:  (members, newcomers) -> Problem -> the fast search's plan
            the integer program's plan instead, if one has come for these requests and is better
            what runs now instead, if the new plan is not worth its moves

Where growth leaves no room for all that must run, the latest arrivals rest, as few as can. Without
pausing that is the only reason to rest. A plan is followed for W passes, while its memory lasts and
the balances that it spends do (`policy.windows`), and for OWED_PASSES at most while a request is
owed its next token. Whoever loses tokens anyway is looked at again after RESTED_PASSES.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import NamedTuple

import numpy as np

from orbitflow.config import Tuning
from orbitflow.engine.policy import PlanningFigures, View
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits, longest_window
from orbitflow.placement import RESIDENT, HostLayers
from orbitflow.planner.planner import SAME, Plan, as_it_is, quick
from orbitflow.planner.problem import REST, Candidate, Problem
from orbitflow.policy.orbitflow.options import OrbitFlowOptions
from orbitflow.policy.pausing import OWED_PASSES, RESTED_PASSES, first_owed, rest_order
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.policy.windows import LONGEST_WINDOW, RING_GROUPS, WINDOWS, horizons, until_due
from orbitflow.request import Phase, Request, RequestState


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
        options: OrbitFlowOptions,
        figures: PlanningFigures,
        *,
        is_uniform: bool,
    ) -> None:
        self._limits = limits
        self._overlap = overlap
        self._placements = placements
        self._tuning = tuning
        self._options = options
        self._figures = figures
        self._is_uniform = is_uniform
        self._solved: tuple[tuple[int, ...], Plan] | None = None

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
        weights = self._options.weights(candidates)
        for passes in horizons(self._limits):
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
        known = [s.id for s in members if s.id in bank]
        left_of = dict(zip(known, (bank.of(known).due_s - view.now_s).tolist(), strict=True))
        for s in members:
            left_s = left_of.get(s.id, 0.0)
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
        if now == plan.options:
            kept: Plan | None = plan._replace(by="kept")
        else:
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
    window = until_due(problem, placed, pass_s, window, RESTED_PASSES)
    return min(window, OWED_PASSES) if draft.is_owed else window


def _is_as_good(kept: Plan, new: Plan) -> bool:
    """Whether a new plan is not worth its moves: it avoids too little loss, and takes no less time
    over the window, moves included.
    """
    if kept.score.loss > new.score.loss + WINDOWS.worth_tokens:
        return False
    return kept.score.span_s <= new.score.span_s + 1e-9
