"""Answers a capacity question: searches of all policies at once, on as many processes as wanted.

Every simulation is a row of the study folder, so that none is made twice. A search is run again
from its start over what is known, as far as that leads: replaying costs nothing beside a
simulation, and makes three things one: going on after a break, what a search needs next, and what
it would need after either answer. What searches ask for next goes first; workers that are left over
begin with what would be asked after either answer. The path of a search depends on the answers
only, never on what else is known or who was faster.

Where the seeds cross, over their n crossings:

    crossing = sqrt(met * missed),  h = t(0.975, n - 1) s / sqrt(n) of the log crossings,
    interval = exp(mean log lower bracket end - h) .. exp(mean log upper bracket end + h)
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from orbitflow.study.bisection import Crossing, Number
from orbitflow.study.capacity import (
    Ask,
    CapacityQuestion,
    CapacitySearch,
    Rows,
    is_impossible,
)
from orbitflow.study.capacity_result import CapacityAnswer, CapacityPoint, CapacityResult, Spread
from orbitflow.study.folder import StudyFolder
from orbitflow.study.grid import Axis, Grid
from orbitflow.study.keys import POLICY
from orbitflow.study.runner import JobRunner
from orbitflow.study.statistics import estimate, estimates
from orbitflow.study.stored import Row, job_id
from orbitflow.study.study import Job
from orbitflow.study.summary import results, summary
from orbitflow.study.task import Work, do_task
from orbitflow.study.worker import StartMethod, WorkerPool

OnPoint: TypeAlias = Callable[[str, CapacityPoint], None]
_ALWAYS = ("slo_attainment", "ttft_attainment", "tpot_attainment", "timely_share", "goodput_rps",
           "completed", "failed")  # fmt: skip
A = TypeVar("A", bound=Hashable)


def answer_capacity(
    question: CapacityQuestion,
    folder: StudyFolder,
    *,
    workers: int,
    on_point: OnPoint,
    work: Work = do_task,
    start_method: StartMethod = "spawn",
) -> CapacityResult:
    """Search until every policy has its answer. `on_point` sees each policy and point that is
    decided over all seeds, in the order of the policy's search.
    """
    searches = _Searches(question, folder.rows, on_point)
    with WorkerPool(workers, start_method) as pool:
        runner = JobRunner(pool, question.study, folder, work)
        while not searches.are_over():
            under_way = set(runner.running.values())
            for job in searches.wanted(2 * workers):
                if runner.has_room and job not in under_way:
                    runner.start(job)
            for ended in runner.ended():
                if not (_is_known(ended.row) or ended.is_tried_again):
                    searches.failed[ended.job] = f"{ended.row['error']} (seed {ended.job.seed})"
    study, varied = question.study, question.varied
    return CapacityResult(
        study.scenario.trace.name,
        len(study.scenario.trace),
        study.scenario.profile.name,
        varied.key,
        varied.grows,
        question.targets,
        len(question.seeds),
        tuple(searches.answer(policy) for policy in question.policies),
    )


def capacity_summary(
    question: CapacityQuestion, rows: Rows, result: CapacityResult
) -> dict[str, object]:
    """The content of `summary.json`: every point that the searches over all seeds tested."""
    study, key = question.study, question.varied.key
    values: set[Number] = set()
    found = []
    for answer in result.answers:
        tested = tuple(one.value for one in answer.tested)
        values |= set(tested)
        grid = Grid((Axis(POLICY, (answer.policy,)), Axis(key, tested)))
        found += results(replace(study, grid=grid), rows)
    axes = (Axis(POLICY, question.policies), Axis(key, tuple(sorted(values))))
    return summary(replace(study, grid=Grid(axes)), found)


class UnknownPoint(Exception, Generic[A]):
    """A search asks for what is not known yet."""

    def __init__(self, ask: A) -> None:
        self.ask = ask


class ReplayedSearch(NamedTuple, Generic[A]):
    """How far a search is: its answered questions in order, then its next one or its result."""

    path: tuple[tuple[A, bool], ...]
    asks: A | None
    crossing: Crossing | None


def replay(
    search: Callable[[Callable[[A], bool]], Crossing], known: Callable[[A], bool | None]
) -> ReplayedSearch[A]:
    """Run a search over what is known."""
    path: dict[A, bool] = {}

    def is_met(ask: A) -> bool:
        if (answer := known(ask)) is None:
            raise UnknownPoint(ask)
        path[ask] = answer
        return answer

    try:
        crossing = search(is_met)
    except UnknownPoint as missing:
        return ReplayedSearch(tuple(path.items()), missing.ask, None)
    return ReplayedSearch(tuple(path.items()), None, crossing)


def foresee(
    search: Callable[[Callable[[A], bool]], Crossing], known: Callable[[A], bool | None], most: int
) -> list[A]:
    """The next question, then those that would follow from either answer, nearest first."""
    asks: list[A] = []
    futures: deque[dict[A, bool]] = deque([{}])
    while futures and len(asks) < most:
        assumed = futures.popleft()
        ask = replay(search, partial(_either, assumed, known)).asks
        if ask is None:
            continue
        if ask not in asks:
            asks.append(ask)
        futures += [{**assumed, ask: True}, {**assumed, ask: False}]
    return asks


def _either(assumed: dict[A, bool], known: Callable[[A], bool | None], ask: A) -> bool | None:
    return assumed[ask] if ask in assumed else known(ask)


class _Searches:
    """The searches of all policies over the rows so far. `failed` has the simulations that failed
    for good in this session, and why.
    """

    def __init__(self, question: CapacityQuestion, rows: Rows, on_point: OnPoint) -> None:
        self.failed: dict[Job, str] = {}
        self._question = question
        self._rows = rows
        self._on_point = on_point
        self._told: Counter[str] = Counter()

    def are_over(self) -> bool:
        """Whether no search asks for anything. Tell what was decided since the last call."""
        for policy in self._question.policies:
            path = self._replay(self._question.search(policy)).path
            for ask, _ in path[self._told[policy] :]:
                self._told[policy] += 1
                self._on_point(policy, point(self._question, self._rows, policy, ask.value))
        return not any(True for _ in self._open())

    def wanted(self, most: int) -> list[Job]:
        """Simulations to begin, first those that decide something; `most` points of a search."""
        each = [foresee(search, self._known, most) for search in self._open()]
        asks = [ask for rank in zip_longest(*each) for ask in rank if ask is not None]
        jobs = dict.fromkeys(job for ask in asks for job in self._question.jobs(ask))
        return [
            j for j in jobs if j not in self.failed and not _is_known(self._rows.get(job_id(j)))
        ]

    def answer(self, policy: str) -> CapacityAnswer:
        """What the rows say of a policy whose searches are over."""
        found = self._replay(self._question.search(policy))
        error, seeds = self._why_stuck(found), {}
        for seed, search in self._of_seeds(policy, found.crossing).items():
            of_seed = self._replay(search)
            error = error or self._why_stuck(of_seed)
            seeds[seed] = of_seed.crossing
        crossing = found.crossing or Crossing(None, None, ())
        points = {
            one.value: point(self._question, self._rows, policy, one.value)
            for one in crossing.tested
        }
        crossings = [found for found in seeds.values() if found is not None]
        return CapacityAnswer(
            policy,
            _outcome(crossing, error),
            None if crossing.missed is None else crossing.met,
            None if crossing.met is None else points[crossing.met],
            None if crossing.missed is None else points[crossing.missed],
            crossing.failing_easier,
            spread(crossings) if crossings and error is None else None,
            tuple(points.values()),
            error,
        )

    def _open(self) -> Iterator[CapacitySearch]:
        """The searches that are neither over nor stuck at a failure."""
        for policy in self._question.policies:
            search = self._question.search(policy)
            found = self._replay(search)
            of_seeds = self._of_seeds(policy, found.crossing).values()
            for one in (search,) if found.crossing is None else of_seeds:
                state = self._replay(one)
                if state.asks is not None and self._why_stuck(state) is None:
                    yield one

    def _replay(self, search: CapacitySearch) -> ReplayedSearch[Ask]:
        return replay(search, self._known)

    def _known(self, ask: Ask) -> bool | None:
        return self._question.verdict(self._rows, ask)

    def _why_stuck(self, found: ReplayedSearch[Ask]) -> str | None:
        """The failure of a simulation that decides what is asked for."""
        jobs = [] if found.asks is None else self._question.jobs(found.asks)
        return next((self.failed[job] for job in jobs if job in self.failed), None)

    def _of_seeds(self, policy: str, crossing: Crossing | None) -> Mapping[int, CapacitySearch]:
        """A search for each seed, where there are several and a crossing to be near."""
        seeds = self._question.seeds
        if crossing is None or len(seeds) < 2 or crossing.met is None or crossing.missed is None:
            return {}
        return {s: self._question.search_of_seed(policy, s, crossing) for s in seeds}


def point(question: CapacityQuestion, rows: Rows, policy: str, value: Number) -> CapacityPoint:
    """The figures of a tested point: those of the targets and the usual ones, over the seeds."""
    ask = Ask(policy, value, question.seeds)
    found = [rows[job_id(job)] for job in question.jobs(ask) if job_id(job) in rows]
    known = estimates([row["figures"] for row in found if row["status"] == "ok"])
    shown = dict.fromkeys((*(target.figure for target in question.targets), *_ALWAYS))
    of_seeds = [question.verdict(rows, ask._replace(seeds=(seed,))) for seed in question.seeds]
    return CapacityPoint(
        value,
        bool(question.verdict(rows, ask)),
        sum(map(bool, of_seeds)),
        {name: known[name] for name in shown if name in known},
        next((str(row["error"]) for row in found if row["status"] != "ok"), None),
        question.offered_rps(value) if question.varies_rate else None,
    )


def spread(found: Sequence[Crossing]) -> Spread:
    """Where seeds cross, and the interval over them."""
    brackets = [
        None if c.met is None or c.missed is None else (math.log(c.met), math.log(c.missed))
        for c in found
    ]
    crossings = tuple(None if b is None else math.exp(sum(b) / 2) for b in brackets)
    known = [bracket for bracket in brackets if bracket is not None]
    if len(known) < len(crossings) or len(known) < 2:
        return Spread(crossings, None, None, None)
    mean, half = estimate([sum(bracket) / 2 for bracket in known])
    assert half is not None
    half += sum(abs(missed - met) / 2 for met, missed in known) / len(known)
    return Spread(crossings, math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def _outcome(crossing: Crossing, error: str | None) -> str:
    if error is not None or not crossing.tested:
        return "failed"
    if crossing.met is None:
        return "met_nowhere"
    return "met_everywhere" if crossing.missed is None else "found"


def _is_known(row: Row | None) -> bool:
    """Whether a row decides anything; what failed otherwise is tried again."""
    return row is not None and (row["status"] == "ok" or is_impossible(row))
