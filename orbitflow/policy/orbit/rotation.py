"""From the server as it stands to the next turn: who runs, on which layers, what loads meanwhile.

    scene -> problem -> search, or go on as it is -> `staging`: layers, window, loads

What has begun goes on while there is a way: prompts, and requests with KV on its way to the GPU. At
last one request runs alone. Loads get what streaming leaves of the link. Where streaming takes
`starving_passes` of it, requests that wait for loads are paused until they have their KV. Otherwise
they would be streamed in every pass, and nothing would ever be loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import NamedTuple

import numpy as np

from orbitflow.config import SolverName, Tuning
from orbitflow.engine.policy import PlanningFigures, View
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT
from orbitflow.planner.planner import Plan, as_it_is, improve, quick
from orbitflow.planner.problem import REST, Candidate, Problem
from orbitflow.planner.score import score_all
from orbitflow.policy.orbit.forecast import Forecaster
from orbitflow.policy.orbit.options import OrbitOptions
from orbitflow.policy.orbit.prices import prices
from orbitflow.policy.orbit.staging import Staged, Stager
from orbitflow.policy.windows import RING_GROUPS, WINDOWS, horizons
from orbitflow.request import Phase, Request, RequestState


class Scene(NamedTuple):
    """The server between two passes, and who asks to be let in. `members` in order of arrival."""

    view: View
    members: list[RequestState]
    newcomer: Request | None
    cost: CostModel
    must_run: Callable[[RequestState], bool]
    starved: frozenset[int] = frozenset()  # wait for their KV, which streaming keeps from coming


class Rotation(NamedTuple):
    """Who runs next, and how."""

    problem: Problem
    plan: Plan
    staged: Staged
    starved: bool = False


class TurnMaker:
    """Makes turns for one server."""

    def __init__(
        self,
        limits: KvLimits,
        overlap: Overlap,
        tuning: Tuning,
        options: OrbitOptions,
        figures: PlanningFigures,
        forecaster: Forecaster,
    ) -> None:
        self._limits = limits
        self._overlap = overlap
        self._tuning = tuning
        self._options = options
        self._figures = figures
        self._forecaster = forecaster
        self._stager = Stager(limits, tuning, options.loading_share)

    def draft(self, scene: Scene) -> Rotation | None:
        """The best turn; None if none fits."""
        view = scene.view
        starved = self._starved(scene)
        going = [
            s
            for s in scene.members
            if s.phase is Phase.PREFILL or (_moves(view, s) and s.id not in starved)
        ]
        if starved:
            scene = scene._replace(starved=starved, must_run=_nobody)
        found = self._best(scene, going)
        if found is None and not scene.members:
            return self._alone(scene)
        if scene.newcomer is not None or found is not None:
            return found
        moving = [s for s in going if s.phase is not Phase.PREFILL]
        eased = scene._replace(must_run=_nobody)  # growth has left no room for all that must run
        return self._as_many(eased, moving) or self._alone(scene)

    # -- inside ------------------------------------------------------------------------------------

    def _as_many(self, scene: Scene, moving: list[RequestState]) -> Rotation | None:
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
        running = [s for s in scene.members if s.phase is Phase.RUNNING]
        contexts = [s.context_tokens(view.passes) for s in running]
        pages = sum(
            len(s.host) * self._limits.full_pages(tokens)
            for s, tokens in zip(running, contexts, strict=True)
        )
        starving_s = self._options.starving_passes * cost.decode_pass_s(len(running), sum(contexts))
        if pages * cost.page_s < starving_s:
            return frozenset()
        return frozenset(s.id for s in running if _moves(view, s))

    def _best(self, scene: Scene, going: list[RequestState]) -> Rotation | None:
        """The best plan that lets these go on."""
        for problem in self._problems(scene, going):
            plan = self._plan(problem)
            if plan is None:
                continue
            if scene.starved:
                rested = as_it_is(problem, _without(problem, plan, scene.starved), plan.by)
                if rested is None:
                    return None
                plan = rested
            kept = None
            if not (scene.newcomer or scene.starved):
                kept = as_it_is(problem, _as_it_is(scene.members))
            if kept is not None and kept.score.loss <= plan.score.loss + WINDOWS.worth_tokens:
                self._figures.kept += 1
                plan = kept._replace(gap=plan.gap)
            staged = self._stager.stage(scene.view, scene.members, problem, plan)
            if staged is not None:
                return Rotation(problem, plan, staged, bool(scene.starved))
        return None

    def _plan(self, problem: Problem) -> Plan | None:
        plan = quick(problem)
        if plan is None:
            return None
        self._figures.searches += 1
        self._figures.proven += plan.is_proven
        if self._tuning.solver is SolverName.ILP:
            plan = improve(problem, plan)
            self._figures.improved += plan.by == "ilp"
            if plan.trouble:
                self._figures.troubles.append(plan.trouble)
        return plan

    def _problems(self, scene: Scene, going: list[RequestState]) -> Iterator[Problem]:
        candidates = self._candidates(scene, going)
        # Layers on their way take their room whoever runs: those of who may rest are set aside.
        goes_on = {s.id for s in going}
        may_rest = [s for s in scene.members if s.id not in goes_on]
        limits = self._stager.limits_beside(scene.view, may_rest)
        for passes in horizons(self._limits):
            yield self._problem(scene, limits, passes, candidates)

    def _problem(
        self, scene: Scene, limits: KvLimits, passes: int, candidates: tuple[Candidate, ...]
    ) -> Problem:
        value, least = self._tuning.token_value, self._options.least_pass
        weights = prices(scene.cost, limits, passes, candidates, value, least)
        return Problem(
            scene.cost, limits, self._overlap, RING_GROUPS, passes, candidates, None, weights
        )

    def _candidates(self, scene: Scene, going: list[RequestState]) -> tuple[Candidate, ...]:
        """What the planner is asked about; prompts under way make everybody wait."""
        view, newcomer, cost = scene.view, scene.newcomer, scene.cost
        prompts_s = 0.0 if newcomer is None else cost.prefill_s(newcomer.prompt_tokens)
        for s in scene.members:
            if s.phase is Phase.PREFILL:
                prompts_s += cost.chunk_s(s.prefill_goal - s.prefilled_tokens, s.prefilled_tokens)
        running = self._forecaster.forecasts(view, cost, scene.members)
        lefts_s = (running.due_s - view.now_s - prompts_s).tolist()
        weights = self._forecaster.weights(running).tolist()
        goes_on = {s.id for s in going}
        found = []
        for s, left_s, weight in zip(scene.members, lefts_s, weights, strict=True):
            context = s.context_tokens(view.passes)
            rests = s.id not in goes_on and not scene.must_run(s)
            host = s.host if s.prefilled_tokens else RESIDENT
            found.append(Candidate(s.id, context, s.tbt_limit_s, left_s, host, rests, weight))
        if newcomer is not None:
            tbt_limit_s, context = view.tbt_limit_of(newcomer), newcomer.prompt_tokens + 1
            found.append(Candidate(newcomer.id, context, tbt_limit_s, inf, RESIDENT, False))
        return tuple(found)

    def _alone(self, scene: Scene) -> Rotation | None:
        """One request alone, with as little on the host as can be: who must run, or is due first.

        The planner's account of the ring is safe for any layers; here it is exact.
        """
        candidates = self._candidates(scene._replace(must_run=_nobody), [])
        problem = self._problem(scene, self._limits, 1, candidates)
        must = {s.id for s in scene.members if scene.must_run(s)}
        rows = range(len(candidates))
        order = sorted(rows, key=lambda r: (candidates[r].id not in must, candidates[r].due_s))
        for row in order:
            for hosted in range(self._limits.layers + 1):
                options = tuple(hosted if r == row else REST for r in rows)
                value = score_all(problem.terms, np.array([options])).at(0)
                plan = Plan(options, value, inf, "alone")
                staged = self._stager.stage(scene.view, scene.members, problem, plan)
                if staged is not None:
                    return Rotation(problem, plan, staged)
        return None


def _as_it_is(members: list[RequestState]) -> tuple[int, ...]:
    """What runs now, as options."""
    return tuple(REST if s.phase is Phase.PAUSED else len(s.target) for s in members)


def _without(problem: Problem, plan: Plan, resting: frozenset[int]) -> tuple[int, ...]:
    """The same options, but these rest."""
    pairs = zip(problem.candidates, plan.options, strict=True)
    return tuple(REST if one.id in resting else option for one, option in pairs)


def _moves(view: View, state: RequestState) -> bool:
    """Whether KV of a running request is on its way to the GPU."""
    return state.phase is Phase.RUNNING and bool(view.arriving(state))


def _nobody(_: RequestState) -> bool:
    return False
