"""Runs what a study folder lacks, on as many workers as wanted, and appends a row for each.

What fails is a row as well. A simulation whose worker was killed is tried once more, at the end;
the other workers never notice.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping

from orbitflow.study.folder import StudyFolder
from orbitflow.study.stored import Row, job_id
from orbitflow.study.study import Job, Study
from orbitflow.study.task import Reply, StudyTask, Work, do_task
from orbitflow.study.worker import DIED, StartMethod, StudyExecutor, WorkerPool

MOST_TRIES = 2


def run_study(
    study: Study,
    folder: StudyFolder,
    *,
    workers: int,
    on_row: Callable[[Row], None],
    work: Work = do_task,
    start_method: StartMethod = "spawn",
) -> None:
    """Run every simulation, and every bound that is wanted, without a good row yet. `on_row` sees
    each row as it is written.
    """
    with WorkerPool[Job](workers, work, start_method) as lanes:
        run_on(lanes, study, folder, on_row=on_row)


def run_on(
    executor: StudyExecutor[Job],
    study: Study,
    folder: StudyFolder,
    *,
    on_row: Callable[[Row], None],
) -> None:
    """The same on an open executor, which stays open."""
    schedule = _Schedule(study, folder.rows)
    while schedule.waiting or executor.is_busy:
        while schedule.waiting and executor.has_room:
            job = schedule.waiting.popleft()
            executor.give(job, task_of(study, job))
        for job, reply in executor.take():
            row = schedule.ended(job, reply)
            folder.add(row)
            on_row(row)


def unfinished(study: Study, rows: Mapping[tuple[str, int], Row]) -> list[Job]:
    """The simulations and the bounds wanted without a good row."""
    return [j for j in study.jobs() if rows.get(job_id(j), {}).get("status") != "ok"]


class _Schedule:
    """What waits, and how often it was tried."""

    def __init__(self, study: Study, rows: Mapping[tuple[str, int], Row]) -> None:
        self.waiting = deque(unfinished(study, rows))
        self._study = study
        self._tries: Counter[Job] = Counter()

    def ended(self, job: Job, reply: Reply) -> Row:
        """Take note of a reply, and give the row that it makes."""
        self._tries[job] += 1
        if reply == DIED and self._tries[job] < MOST_TRIES:
            self.waiting.append(job)
        return row_of(self._study, job, reply)


def row_of(study: Study, job: Job, reply: Reply) -> Row:
    """What the folder keeps of a simulation or a bound."""
    return {
        "cell": job.cell.values,
        "seed": job.seed,
        "status": "failed" if reply.figures is None else "ok",
        "error": reply.error,
        "slo_tbt_s": study.slo(job).tau_s,
        "figures": reply.figures,
    }


def task_of(study: Study, job: Job) -> StudyTask:
    """What a worker is given for it."""
    config = study.config(job)
    guests = {name: study.guests[name] for name in config.policies if name in study.guests}
    return StudyTask(config, study.slo(job), guests)
