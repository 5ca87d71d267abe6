"""Answers a capacity question: searches of all policies at once, on as many processes as wanted.

Every simulation is a row of the study folder, so that none is made twice. What searches ask for
next goes first; workers that are left over begin with what would be asked after either answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import zip_longest

from orbitflow.study.bisection import Crossing
from orbitflow.study.capacity import Answer, Ask, CapacityQuestion, is_impossible
from orbitflow.study.folder import StudyFolder
from orbitflow.study.runner import MOST_TRIES, row_of, task_of
from orbitflow.study.stored import Row, job_id
from orbitflow.study.study import Job
from orbitflow.study.task import Reply, StudyTask, Work, do_task
from orbitflow.study.worker import DIED, StartMethod, WorkerPool

OnPoint = Callable[[Ask, bool], None]


def answer_capacity(
    question: CapacityQuestion,
    folder: StudyFolder,
    *,
    workers: int,
    on_point: OnPoint,
    work: Work = do_task,
    start_method: StartMethod = "spawn",
) -> list[Answer]:
    """Search until every policy has its answer. `on_point` sees each decision over all seeds, in
    the order of its policy's search.
    """
    state = _State(question, folder, on_point)
    with WorkerPool[Job](workers, work, start_method) as lanes:
        while not state.is_over():
            for job in state.wanted(workers):
                if not lanes.has_room:
                    break
                lanes.give(job, state.begin(job))
            for job, reply in lanes.take():
                state.end(job, reply)
    return [state.answer(policy) for policy in question.policies]


class _State:
    """What is known, under way and told."""

    def __init__(self, question: CapacityQuestion, folder: StudyFolder, on_point: OnPoint) -> None:
        self._question = question
        self._folder = folder
        self._on_point = on_point
        self._under_way: set[Job] = set()
        self._tries: Counter[Job] = Counter()
        self._failed: dict[Job, str] = {}  # for good, in this session
        self._told: Counter[str] = Counter()

    def is_over(self) -> bool:
        """Whether no search asks for anything; tells what was decided since the last call."""
        open_searches = [list(self._open(policy)) for policy in self._question.policies]
        return not any(open_searches)

    def wanted(self, workers: int) -> list[Job]:
        """Simulations to begin, first those that decide something."""
        searches = [s for policy in self._question.policies for s in self._open(policy)]
        each = [foresee(search, self._known, 2 * workers) for search in searches]
        asks = [ask for rank in zip_longest(*each) for ask in rank if ask is not None]
        jobs = dict.fromkeys(job for ask in asks for job in self._question.jobs(ask))
        rows, busy = self._folder.rows, self._under_way | self._failed.keys()
        return [j for j in jobs if j not in busy and not _is_known(rows.get(job_id(j)))]

    def begin(self, job: Job) -> StudyTask:
        """The task of a simulation that is to be under way."""
        self._under_way.add(job)
        return task_of(self._question.study, job)

    def end(self, job: Job, reply: Reply) -> None:
        """Take a reply. A killed worker's simulation is tried once more."""
        self._under_way.discard(job)
        self._tries[job] += 1
        row = row_of(self._question.study, job, reply)
        self._folder.add(row)
        tries_again = reply == DIED and self._tries[job] < MOST_TRIES
        if not (_is_known(row) or tries_again):
            self._failed[job] = f"{reply.error} (seed {job.seed})"

    def answer(self, policy: str) -> Answer:
        """What the rows say of a policy whose searches are over."""
        standing = self._standing(self._question.search(policy))
        crossing = standing.result
        if crossing is None:
            return Answer(policy, None, None, self._why_stuck(standing))
        crossings: dict[int, Crossing] = {}
        for seed, search in self._of_seeds(policy, crossing).items():
            standing = self._standing(search)
            if standing.result is None:
                return Answer(policy, crossing, None, self._why_stuck(standing))
            crossings[seed] = standing.result
        return Answer(policy, crossing, spread(crossings) if crossings else None)

    def _open(self, policy: str) -> Iterator[MakeSearch[Ask, Crossing]]:
        """The searches of a policy that are neither over nor stuck at a failure."""
        search = self._question.search(policy)
        standing = self._standing(search)
        for ask, is_met in standing.path[self._told[policy] :]:
            self._told[policy] += 1
            self._on_point(ask, is_met)
        searches = {search: standing}
        if standing.result is not None:
            of_seeds = self._of_seeds(policy, standing.result).values()
            searches = {of_seed: self._standing(of_seed) for of_seed in of_seeds}
        for one, standing in searches.items():
            if standing.asks is not None and self._why_stuck(standing) is None:
                yield one

    def _standing(self, search: MakeSearch[Ask, Crossing]) -> Standing[Ask, Crossing]:
        return replay(search, self._known)

    def _why_stuck(self, standing: Standing[Ask, Crossing]) -> str | None:
        """The failure of a simulation that decides what is asked for."""
        jobs = [] if standing.asks is None else self._question.jobs(standing.asks)
        return next((self._failed[job] for job in jobs if job in self._failed), None)

    def _of_seeds(self, policy: str, crossing: Crossing) -> dict[int, MakeSearch[Ask, Crossing]]:
        """A search for each seed, where there are several and a crossing to be near."""
        seeds = self._question.seeds
        if len(seeds) < 2 or crossing.met is None or crossing.missed is None:
            return {}
        return {s: self._question.search_of_seed(policy, s, crossing) for s in seeds}

    def _known(self, ask: Ask) -> bool | None:
        return self._question.verdict(self._folder.rows, ask)


def _is_known(row: Row | None) -> bool:
    """Whether a row decides anything; what failed otherwise is tried again."""
    return row is not None and (row["status"] == "ok" or is_impossible(row))
