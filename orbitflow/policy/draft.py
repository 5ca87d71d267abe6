"""From the server as it stands to a plan: which question to ask, and which answer to keep.

    draft:  (members, newcomers) -> Problem -> the fast search's plan
            the ILP's plan instead, if one has come for these requests and is better
            what runs now instead, if the new plan is not worth its moves

Where growth leaves no room for all that must run, the latest arrivals rest, as few as can. Without
pausing that is the only reason to rest.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import NamedTuple

from orbitflow.config import Tuning
from orbitflow.engine.policy import PlanningFigures, View
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT, HostLayers
from orbitflow.planner.planner import Answer, quick
from orbitflow.planner.problem import REST, Asked, Choice, Problem
from orbitflow.planner.score import Score, score
from orbitflow.policy.pausing import first_owed, rest_order
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Phase, Request, RequestState

LOOKAHEAD_PAGES = 2  # plans are made for that much growth; the window is then as long as they hold
LAST_RESORTS = (4, 1)  # passes to plan for where less growth fits
WORTH_TOKENS = 0.1  # loss that a new plan must avoid to be worth its moves
RING_GROUPS = 2


class Plan(NamedTuple):
    """A question with the answer that is followed; `is_owed`: somebody's turn cannot be put off."""

    problem: Problem
    answer: Answer
    is_owed: bool


class Drafter:
    """Makes plans for one server."""

    def __init__(
        self,
        limits: KvLimits,
        overlap: Overlap,
        options: tuple[HostLayers, ...],
        tuning: Tuning,
        figures: PlanningFigures,
        *,
        is_uniform: bool,
    ) -> None:
        self._limits = limits
        self._overlap = overlap
        self._options = options
        self._tuning = tuning
        self._figures = figures
        self._is_uniform = is_uniform
        self._solved: tuple[tuple[int, ...], Answer] | None = None

    @property
    def lookahead_tokens(self) -> int:
        """Growth that plans are made for."""
        return LOOKAHEAD_PAGES * self._limits.page_tokens

    def solved(self, problem: Problem, answer: Answer) -> None:
        """An answer of the ILP has come; the next draft considers it."""
        self._solved = (tuple(asked.id for asked in problem.requests), answer)
        self._figures.improved += answer.by == "ilp"
        if answer.trouble:
            self._figures.troubles.append(answer.trouble)

    def draft(
        self,
        view: View,
        members: list[RequestState],
        newcomers: list[Request],
        bank: TokenDeposit,
        cost: CostModel,
    ) -> Plan | None:
        """The best plan known for these; None if none fits. `members` in order of arrival."""
        owed = first_owed(members, bank, view.now_s) if self._tuning.pause else None
        asked = self._asked(view, members, newcomers, bank, owed)
        order = None
        if self._tuning.pause:
            order = rest_order(self._tuning.victim, members, view.passes)
        for passes in (self.lookahead_tokens, self._limits.page_tokens, *LAST_RESORTS):
            problem = Problem(
                cost,
                self._limits,
                self._overlap,
                RING_GROUPS,
                passes,
                asked,
                self._options,
                self._is_uniform,
                order,
            )
            answer = quick(problem)
            if answer is None and not newcomers:
                problem, answer = self._forced(problem, owed)
            if answer is not None:
                self._figures.searches += 1
                self._figures.proven += answer.is_proven
                answer = self._considered(problem, answer, members)
                return Plan(problem, answer, owed is not None)
        return None

    def _asked(
        self,
        view: View,
        members: list[RequestState],
        newcomers: list[Request],
        bank: TokenDeposit,
        owed: int | None,
    ) -> tuple[Asked, ...]:
        asked = []
        for s in members:
            due_s = bank.due_s(s.id)
            left_s = 0.0 if due_s is None else due_s - view.now_s
            rests = self._tuning.pause and s.id != owed and s.state is not Phase.PREFILL
            context = s.context_tokens(view.passes)
            asked.append(Asked(s.id, context, s.tau_s, left_s, s.host, rests))
        for r in newcomers:
            asked.append(Asked(r.id, r.prompt_tokens + 1, view.tau_of(r), inf, RESIDENT, False))
        return tuple(asked)

    def _forced(self, problem: Problem, owed: int | None) -> tuple[Problem, Answer | None]:
        """The latest arrivals may rest as well, as few as can, but the first or who is owed."""
        ids = [asked.id for asked in problem.requests]
        stays = owed if owed is not None else ids[0]
        forced: set[int] = set()
        for latest in [i for i in reversed(ids) if i != stays]:
            forced.add(latest)
            asked = tuple(
                a._replace(may_rest=a.may_rest or a.id in forced) for a in problem.requests
            )
            eased = replace(problem, requests=asked, rest_order=None)
            answer = quick(eased)
            if answer is not None:
                return eased, answer
        return problem, None

    def _considered(self, problem: Problem, answer: Answer, members: list[RequestState]) -> Answer:
        if self._solved is not None:
            ids, solved = self._solved
            self._solved = None
            if ids == tuple(asked.id for asked in problem.requests):
                worth = score(problem, solved.choice)
                if worth is not None and worth.rank < answer.score.rank:
                    answer = solved._replace(score=worth)
        kept = self._kept(problem, members)
        worth = None if kept is None else score(problem, kept)
        if kept is not None and worth is not None and _is_as_good(problem, worth, answer.score):
            self._figures.kept += 1
            return Answer(kept, worth, answer.is_proven, "kept")
        return answer

    def _kept(self, problem: Problem, members: list[RequestState]) -> Choice | None:
        """What runs now as a choice, if it is one."""
        if len(problem.requests) != len(members):
            return None
        chosen = []
        for s in members:
            if s.state is Phase.PARKED:
                chosen.append(REST)
            elif s.target in self._options:
                chosen.append(self._options.index(s.target))
            else:
                return None
        return Choice(tuple(chosen))


def _is_as_good(problem: Problem, kept: Score, new: Score) -> bool:
    """Whether a new plan is not worth its moves: it avoids too little loss, and takes no less time
    over the window, moves included.
    """
    if kept.loss > new.loss + WORTH_TOKENS:
        return False
    more = problem.passes - 1
    return kept.first_pass_s + more * kept.pass_s <= new.first_pass_s + more * new.pass_s + 1e-9
