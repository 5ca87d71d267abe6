"""The Ray executor and its driver process: what they do, how they end, and what is left when the
driver is gone.

The fake stands for Ray, which ends the process that has lost its cluster from inside C++.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from orbitflow.cli import main
from orbitflow.cli import study_run as study_executor
from orbitflow.errors import OrbitFlowError, UserError
from orbitflow.study.folder import StudyFolder
from orbitflow.study.ray_executor import RayExecutor
from orbitflow.study.runner import run_on
from orbitflow.study.task import Reply, StudyTask, TaskInputs, attempt, do_task
from orbitflow.study.worker import WorkerDied
from study.conftest import MakeStudy

LOST = (
    "--ray-address host:1: the Ray cluster is lost, and what was under way on it: start one again, "
    "or leave --executor ray out"
)
OUT = Path("out")


class Fake:
    """Two CPUs of another machine; what becomes of a task depends on its SLO scale."""

    cpus = 2

    def __init__(self, address: str) -> None:
        self.puts = 0

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        Path("left").touch()

    def put(self, inputs: TaskInputs) -> int:
        assert len(inputs.trace) == 4
        self.puts += 1
        return self.puts

    def submit(self, fn: Any, args: Any, inputs: int) -> Future[Any]:
        _, task = args
        future: Future[Any] = Future()
        match task.config.slo_scale:
            case 6:
                future.set_exception(WorkerDied("worker died"))
            case 7:
                os._exit(1)
            case 8:
                raise ConnectionError("no route\nto it")
            case 9:
                time.sleep(600)
            case scale:
                assert fn.func is attempt
                future.set_result(Reply({"timely_share": scale / 10, "puts": self.puts}, None))
        return future


def refusing(address: str) -> Fake:
    raise UserError("no cluster answers")


def dying(address: str) -> Fake:
    os._exit(1)


def opened(cluster: Any = Fake, workers: int | None = None) -> RayExecutor:
    return RayExecutor("host:1", workers, open_cluster=cluster, start_method="forkserver")


def test_every_task_is_done_and_the_other_process_leaves(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2,3,4,5", policies=["dynamic"])
    with opened() as executor, StudyFolder(OUT, study) as folder:
        assert executor.workers == 2
        run_on(executor, study, folder, on_row=lambda row: None)
        shares = {row["cell"]["slo_scale"]: row["figures"]["timely_share"] for row in
                  folder.rows.values()}  # fmt: skip
        assert all(row["figures"]["puts"] == 1 for row in folder.rows.values())  # inputs went once
    assert shares == {scale: scale / 10 for scale in (1, 2, 3, 4, 5)}
    assert Path("left").exists()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("grid", "said"),
    [("slo_scale=1,7,2", LOST), ("slo_scale=1,8,2", f"{LOST} (ConnectionError: no route to it)")],
)
def test_one_that_is_lost_is_an_error_and_rows_are_kept(
    make_study: MakeStudy, grid: str, said: str
) -> None:
    study = make_study(grid, policies=["dynamic"])
    with (
        pytest.raises(OrbitFlowError) as lost,
        StudyFolder(OUT, study) as folder,
        opened() as executor,
    ):
        run_on(executor, study, folder, on_row=lambda row: None)
    assert str(lost.value) == said
    rows = [json.loads(line) for line in (OUT / "cells.jsonl").read_text().splitlines()]
    assert all(row["status"] == "ok" for row in rows)
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_on_the_cluster_is_tried_once_more(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,6", policies=["dynamic"])
    written: list[Any] = []
    with opened(workers=1) as executor, StudyFolder(OUT, study) as folder:
        assert executor.workers == 1
        run_on(executor, study, folder, on_row=written.append)
    assert [row["error"] for row in written] == [None, "worker died", "worker died"]


def test_the_executor_is_one_of_concurrent_futures(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2,3", policies=["dynamic"])
    tasks = [StudyTask(study.config(job), study.slo(job)) for job in study.jobs()]
    with opened() as executor:
        found = list(executor.map(attempt, [do_task] * 3, tasks))
        executor.shutdown()
    assert [reply.figures and reply.figures["timely_share"] for reply in found] == [0.1, 0.2, 0.3]
    with opened() as executor:
        futures = [executor.submit(attempt, do_task, task) for task in tasks]
        executor.shutdown(wait=True)
        assert all(future.done() for future in futures)
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(attempt, do_task, tasks[0])


def test_what_opening_says_is_said_here() -> None:
    with pytest.raises(UserError, match="no cluster answers"):
        opened(refusing)
    with pytest.raises(OrbitFlowError, match="the Ray cluster is lost"):
        opened(dying)
    assert not multiprocessing.active_children()


def test_an_interrupt_ends_what_is_at_work(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=9", policies=["dynamic"])
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with StudyFolder(OUT, study) as folder, opened() as executor:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                run_on(executor, study, folder, on_row=lambda row: None)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not multiprocessing.active_children()


def test_the_command_says_it_in_a_line_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study_executor, "executor_of", lambda *_: opened)
    words = ["study", "run", "--trace", "tiny.jsonl", "--policy", "dynamic", "--out", "out"]
    monkeypatch.setattr("sys.argv", ["orbitflow", *words, "--quiet", "--grid", "slo_scale=1,7"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    kept, said = capsys.readouterr().err.splitlines()
    assert "the same command with --out out goes on" in kept
    assert said == f"orbitflow: {LOST}"
