"""An executor in another process: what it does, how it ends, and what is left when it is gone.

The fake stands for Ray, which ends the process that has lost its cluster from inside C++.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from orbitflow.study.ray_executor import Apart

from orbitflow.cli import main
from orbitflow.cli import study_run as study_executor
from orbitflow.errors import OrbitFlowError, UserError
from orbitflow.study.folder import StudyFolder
from orbitflow.study.runner import run_on
from orbitflow.study.study import Job
from orbitflow.study.task import Reply, StudyTask
from study.conftest import MakeStudy

LOST = "the cluster is lost: start it again"
OUT = Path("out")


class Fake:
    """Two workers of another machine; what becomes of a task depends on its SLO scale."""

    workers = 2

    def __init__(self) -> None:
        self.given: list[tuple[int, StudyTask]] = []

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: Any) -> None:
        Path("left").touch()

    has_room = is_busy = True

    def give(self, key: int, task: StudyTask) -> None:
        self.given.append((key, task))

    def take(self) -> list[tuple[int, Reply]]:
        key, task = self.given.pop()
        match task.config.slo_scale:
            case 7:
                os._exit(1)
            case 8:
                raise ConnectionError("no route\nto it")
            case 9:
                time.sleep(600)
        return [(key, Reply({"timely_share": task.config.slo_scale / 10}, None))]


def refusing() -> Fake:
    raise UserError("no cluster answers")


def dying() -> Fake:
    os._exit(1)


def opened() -> Apart[Job]:
    return Apart(Fake, LOST, "fork")


def test_every_task_is_done_and_the_other_process_leaves(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2,3,4,5", policies=["dynamic"])
    with opened() as executor, StudyFolder(OUT, study) as folder:
        assert executor.has_room
        run_on(executor, study, folder, on_row=lambda row: None)
        assert not executor.is_busy
        shares = {row["cell"]["slo_scale"]: row["figures"]["timely_share"] for row in
                  folder.rows.values()}  # fmt: skip
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


def test_what_opening_says_is_said_here() -> None:
    with pytest.raises(UserError, match="no cluster answers"):
        Apart(refusing, LOST, "fork")
    with pytest.raises(OrbitFlowError, match=LOST):
        Apart(dying, LOST, "fork")
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
