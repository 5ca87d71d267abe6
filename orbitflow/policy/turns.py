"""From the server as it stands to the next turn: who runs, on which layers, what loads meanwhile.

    scene -> question (planner.turn) -> solve, or go on as it is -> `staging`: layers, window, loads

Plans are made for PLANNED_PAGES of growth, for less where that does not fit. What has begun goes on
while there is a way: prompts, and who has KV on its way to the GPU; at last one request runs alone.
Loads get what streaming leaves of the link: where streaming takes STARVING passes of it, those who
wait for theirs rest until they have it, for else they would be streamed in every pass for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import NamedTuple

import numpy as np

from orbitflow.config import SolverName, Tuning
from orbitflow.engine.policy import PlanningFigures, View
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.planner.turn.check import faults
from orbitflow.planner.turn.question import REST, Member, Question, Turn
from orbitflow.planner.turn.solver import solve
from orbitflow.planner.turn.worth import Worth, worth, worth_all
from orbitflow.policy.orbit.staging import Staged, Stager
from orbitflow.policy.orbitflow.planning import RING_GROUPS
from orbitflow.request import Phase, Request, RequestState

PLANNED_PAGES = 2  # a turn is planned for that much growth
LAST_RESORTS = (4, 1)  # passes to plan for where less growth fits
WORTH_TOKENS = 0.1  # loss that a new plan must avoid to be worth its moves
STARVING = 4.0  # passes that streaming takes of the link, from which on loads cannot wait
PROVEN_GAP = 0.02
EFFORT = 0  # no search: its bound would double the time


class Scene(NamedTuple):
    """The server between two passes, and who asks to be let in. `members` in order of arrival."""

    view: View
    members: list[RequestState]
    newcomer: Request | None
    cost: CostModel
    must_run: Callable[[RequestState], bool]
    starved: frozenset[int] = frozenset()  # wait for their KV, which streaming keeps from coming


class Drafted(NamedTuple):
    """The next turn."""

    question: Question
    worth: Worth
    staged: Staged
    by: str
    gap: float
    starved: bool = False


class Drafter:
    """Makes turns for one server. `weigh` says what a request's late tokens count, `due` when it is
    to have its next one.
    """

    def __init__(
        self,
        limits: KvLimits,
        tuning: Tuning,
        figures: PlanningFigures,
        weigh: Callable[[View, CostModel, RequestState], float],
        due: Callable[[View, CostModel, RequestState], float | None],
    ) -> None:
        self._limits = limits
        self._tuning = tuning
        self._figures = figures
        self._weigh = weigh
        self._due = due
        self._stager = Stager(limits, tuning)

    def draft(self, scene: Scene) -> Drafted | None:
        """The best turn; None if none fits."""
        view = scene.view
        starved = self._starved(scene)
        going = [
            s
            for s in scene.members
            if s.state is Phase.PREFILL or (_moves(view, s) and s.id not in starved)
        ]
        if starved:
            scene = scene._replace(starved=starved, must_run=_nobody)
        found = self._best(scene, going)
        if found is None and not scene.members:
            return self._alone(scene)
        if scene.newcomer is not None or found is not None:
            return found
        moving = [s for s in going if s.state is not Phase.PREFILL]
        eased = scene._replace(must_run=_nobody)  # growth has left no room for all that must run
        return self._as_many(eased, moving) or self._alone(scene)

    # -- inside ------------------------------------------------------------------------------------

    def _as_many(self, scene: Scene, moving: list[RequestState]) -> Drafted | None:
        """The best turn that lets as many of these go on as can be; the latest are stopped first.
        Halved, as the more must go on the less room there is.
        """
        if (found := self._best(scene, moving)) is not None or not moving:
            return found
        most, too_many = 0, len(moving)
        if (best := self._best(scene, [])) is None:
            return None
        while too_many - most > 1:
            middle = (most + too_many) // 2
            if (found := self._best(scene, moving[:middle])) is None:
                too_many = middle
            else:
                most, best = middle, found
        return best

    def _starved(self, scene: Scene) -> frozenset[int]:
        """Who runs while KV of it is on its way, which gets only what streaming leaves: where the
        link is busy with streaming all the time, nothing, for ever.
        """
        view, cost = scene.view, scene.cost
        running = [s for s in scene.members if s.state is Phase.RUNNING]
        contexts = [s.context_tokens(view.passes) for s in running]
        pages = sum(
            len(s.host) * self._limits.full_pages(tokens)
            for s, tokens in zip(running, contexts, strict=True)
        )
        if pages * cost.page_s < STARVING * cost.decode_pass_s(len(running), sum(contexts)):
            return frozenset()
        return frozenset(s.id for s in running if _moves(view, s))

    def _best(self, scene: Scene, going: list[RequestState]) -> Drafted | None:
        """The best turn that lets these go on."""
        for question in self._questions(scene, going):
            answered = self._answer(question)
            if answered is None:
                continue
            turn, value, gap, by = answered
            if scene.starved:
                rested = _without(question, turn, scene.starved)
                rested_value = worth(question, rested)
                if rested_value is None:
                    return None
                turn, value = rested, rested_value
            kept = None if scene.newcomer or scene.starved else _as_it_is(question, scene.members)
            kept_value = None if kept is None else worth(question, kept)
            if kept and kept_value and kept_value.loss <= value.loss + WORTH_TOKENS:
                self._figures.kept += 1
                turn, value, by = kept, kept_value, "kept"
            if wrong := faults(question, turn, value):
                raise AssertionError(f"the solver returned a turn that is wrong: {wrong[0]}")
            staged = self._stager.stage(scene.view, scene.members, question, turn, value)
            if staged is not None:
                return Drafted(question, value, staged, by, gap, bool(scene.starved))
        return None

    def _answer(self, question: Question) -> tuple[Turn, Worth, float, str] | None:
        solved = solve(question, effort=EFFORT)
        if solved is None:
            return None
        self._figures.searches += 1
        self._figures.proven += solved.gap <= PROVEN_GAP
        if self._tuning.solver is not SolverName.ILP:
            return solved.turn, solved.worth, solved.gap, "turn solver"
        from orbitflow.planner.solver import Effort  # PuLP takes 0.3 s to import
        from orbitflow.planner.turn.milp import solve_milp

        found = solve_milp(question, effort=Effort(gap=1e-4, nodes=None, seconds=None))
        value = None if found.turn is None else worth(question, found.turn)
        if found.turn is None or value is None:
            self._figures.troubles.append(found.message)
            return solved.turn, solved.worth, solved.gap, "turn solver"
        self._figures.improved += value.loss < solved.worth.loss
        return found.turn, value, 0.0 if found.is_optimal else solved.gap, "ilp"

    def _questions(self, scene: Scene, going: list[RequestState]) -> Iterator[Question]:
        asked = self._members(scene, going)
        # Layers on their way take their room whoever runs: those of who may rest are set aside.
        may_rest = [s for s in scene.members if s not in going]
        limits = self._stager.limits_beside(scene.view, may_rest)
        for passes in (planned_passes(self._limits), self._limits.page_tokens, *LAST_RESORTS):
            value = self._tuning.token_value
            yield Question(scene.cost, limits, RING_GROUPS, passes, asked, value)

    def _members(self, scene: Scene, going: list[RequestState]) -> tuple[Member, ...]:
        """What the planner is asked about; prompts under way make everybody wait."""
        view, newcomer, cost = scene.view, scene.newcomer, scene.cost
        prompts_s = 0.0 if newcomer is None else cost.prefill_s(newcomer.prompt_tokens)
        for s in scene.members:
            if s.state is Phase.PREFILL:
                prompts_s += cost.chunk_s(s.prefill_goal - s.prefilled_tokens, s.prefilled_tokens)
        asked = []
        for s in scene.members:
            due_s = self._due(view, cost, s)
            left_s = inf if due_s is None else due_s - view.now_s - prompts_s
            context = s.context_tokens(view.passes)
            rests = s not in going and not scene.must_run(s)
            weight = self._weigh(view, cost, s)
            absent = len(s.host) if s.prefilled_tokens else 0
            asked.append(Member(s.id, context, s.tau_s, left_s, weight, absent, rests))
        if newcomer is not None:
            tau_s, context = view.tau_of(newcomer), newcomer.prompt_tokens + 1
            asked.append(Member(newcomer.id, context, tau_s, inf, 1.0, 0, False))
        return tuple(asked)

    def _alone(self, scene: Scene) -> Drafted | None:
        """One request alone, with as little on the host as can be: who must run, or is due first.

        The planner's account of the ring is safe for any layers; here it is exact.
        """
        members = self._members(scene._replace(must_run=_nobody), [])
        question = Question(scene.cost, self._limits, RING_GROUPS, 1, members)
        must = {s.id for s in scene.members if scene.must_run(s)}
        order = sorted(
            range(len(members)), key=lambda r: (members[r].id not in must, members[r].due_s)
        )
        for row in order:
            for hosted in range(self._limits.layers + 1):
                turn = Turn(tuple(hosted if r == row else REST for r in range(len(members))))
                value = worth_all(question.terms, np.array([turn.host_layers])).at(0)
                staged = self._stager.stage(scene.view, scene.members, question, turn, value)
                if staged is not None:
                    return Drafted(question, value, staged, "alone", inf)
        return None


def planned_passes(limits: KvLimits) -> int:
    """Passes that a turn is planned for."""
    return PLANNED_PAGES * limits.page_tokens


def _as_it_is(question: Question, members: list[RequestState]) -> Turn | None:
    """What runs now, as a turn."""
    turn = Turn(tuple(REST if s.state is Phase.PARKED else len(s.target) for s in members))
    rests = zip(question.members, turn.host_layers, strict=True)
    return None if any(h == REST and not asked.may_rest for asked, h in rests) else turn


def _without(question: Question, turn: Turn, resting: frozenset[int]) -> Turn:
    """The same turn, but these rest."""
    pairs = zip(question.members, turn.host_layers, strict=True)
    return Turn(tuple(REST if asked.id in resting else hosted for asked, hosted in pairs))


def _moves(view: View, sequence: RequestState) -> bool:
    """Whether KV of a running request is on its way to the GPU."""
    return sequence.state is Phase.RUNNING and bool(view.arriving(sequence))


def _nobody(_: RequestState) -> bool:
    return False
