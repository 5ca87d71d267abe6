"""Runs what a study folder lacks on an executor, and appends a row for each.

What fails is a row as well. A simulation whose worker was killed is tried once more, at the end;
the other workers never notice. An OrbitFlowError of the executor itself (a cluster that is lost)
ends the run; rows stay.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import NamedTuple

from orbitflow.errors import OrbitFlowError
from orbitflow.study.folder import StudyFolder
from orbitflow.study.stored import Row, job_id
from orbitflow.study.study import Job, Study
from orbitflow.study.task import Reply, StudyTask, Work, attempt, do_task, one_line
from orbitflow.study.worker import StartMethod, StudyExecutor, WorkerDied, WorkerPool

_MOST_TRIES = 2
_DIED = "worker died"


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
    with WorkerPool(workers, start_method) as pool:
        run_on(pool, study, folder, on_row=on_row, work=work)


def run_on(
    executor: StudyExecutor,
    study: Study,
    folder: StudyFolder,
    *,
    on_row: Callable[[Row], None],
    work: Work = do_task,
) -> None:
    """The same on an open executor, which stays open."""
    waiting = deque(unfinished(study, folder.rows))
    runner = JobRunner(executor, study, folder, work)
    while waiting or runner.running:
        while waiting and runner.has_room:
            runner.start(waiting.popleft())
        for ended in runner.ended():
            if ended.is_tried_again:
                waiting.append(ended.job)
            on_row(ended.row)


def unfinished(study: Study, rows: Mapping[tuple[str, int], Row]) -> list[Job]:
    """The simulations and the bounds wanted without a good row."""
    return [j for j in study.jobs() if rows.get(job_id(j), {}).get("status") != "ok"]


class Ended(NamedTuple):
    """A job that is over, and its row. One whose worker was killed is to be tried again."""

    job: Job
    row: Row
    is_tried_again: bool


class JobRunner:
    """The jobs of a study that are under way."""

    def __init__(
        self, executor: StudyExecutor, study: Study, folder: StudyFolder, work: Work
    ) -> None:
        self.running: dict[Future[Reply], Job] = {}
        self._executor = executor
        self._study = study
        self._folder = folder
        self._work = work
        self._tries: Counter[Job] = Counter()

    @property
    def has_room(self) -> bool:
        """Whether a worker is free."""
        return len(self.running) < self._executor.workers

    def start(self, job: Job) -> None:
        """Have a job done."""
        self._tries[job] += 1
        task = task_of(self._study, job)
        self.running[self._executor.submit(attempt, self._work, task)] = job

    def ended(self) -> Iterator[Ended]:
        """Wait for jobs to end, and write their rows."""
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        for future in [f for f in self.running if f in done]:
            job = self.running.pop(future)
            reply = _reply(future)
            row = row_of(self._study, job, reply)
            self._folder.add(row)
            yield Ended(job, row, reply.error == _DIED and self._tries[job] < _MOST_TRIES)


def _reply(future: Future[Reply]) -> Reply:
    try:
        return future.result()
    except WorkerDied:
        return Reply(None, _DIED)
    except OrbitFlowError:
        raise
    except Exception as error:  # the worker could not even begin
        return Reply(None, one_line(error))


def row_of(study: Study, job: Job, reply: Reply) -> Row:
    """What the folder keeps of a simulation or a bound."""
    return {
        "cell": job.cell.values,
        "seed": job.seed,
        "status": "failed" if reply.figures is None else "ok",
        "error": reply.error,
        "slo_tbt_s": study.slo(job).tbt_limit_s,
        "figures": reply.figures,
    }


def task_of(study: Study, job: Job) -> StudyTask:
    """What a worker is given for it."""
    config = study.config(job)
    guests = {name: study.guests[name] for name in config.policies if name in study.guests}
    return StudyTask(config, study.slo(job), guests=guests)
