"""Running a study: rows as they come, going on after a break, locks, killed workers, failures.

Workers are forked here, so that they know the work that a test makes up.
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

from orbitflow.errors import PolicyError, UserError
from orbitflow.study.folder import StudyFolder
from orbitflow.study.runner import run_study, unfinished
from orbitflow.study.stored import Row, row_id
from orbitflow.study.study import Study
from orbitflow.study.summary import results, summary
from orbitflow.study.task import StudyTask, Work, do_task
from study.conftest import MakeStudy

OUT = Path("out")


def run(study: Study, work: Work = do_task, workers: int = 2) -> list[Row]:
    """Run or go on with the study in OUT. Give the rows that were written."""
    written: list[Row] = []
    with StudyFolder(OUT, study) as folder:
        run_study(
            study, folder, workers=workers, on_row=written.append, work=work, start_method="fork"
        )
    return written


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (OUT / "cells.jsonl").read_text().splitlines()]


def quick(task: StudyTask) -> dict[str, object]:
    return {"timely_share": task.config.slo_scale / 10, "seed": task.config.seed}


def picky(task: StudyTask) -> dict[str, object]:
    if task.config.slo_scale == 2:
        raise PolicyError("does not\nfit")
    if task.config.slo_scale == 3:
        raise ZeroDivisionError("by zero")
    return quick(task)


def deadly(task: StudyTask) -> dict[str, object]:
    if task.config.slo_scale == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(task)


def deadly_once(task: StudyTask) -> dict[str, object]:
    if task.config.slo_scale == 2 and not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(task)


def slow(task: StudyTask) -> dict[str, object]:
    if task.config.slo_scale == 2:
        time.sleep(600)
    return quick(task)


def test_one_row_per_cell_and_seed(make_study: MakeStudy) -> None:
    study = make_study("policy=no-offload,dynamic", "slo_scale=1,2", seeds=2)
    written = run(study)
    assert len(written) == 8
    assert {(r["cell"]["policy"], r["cell"]["slo_scale"], r["seed"]) for r in lines()} == {
        (p, s, n) for p in ("no-offload", "dynamic") for s in (1, 2) for n in (0, 1)
    }
    row = lines()[0]
    assert row["status"] == "ok"
    assert row["error"] is None
    assert row["slo_tbt_s"] == row["cell"]["slo_scale"] * study.full_pass_s
    figures = row["figures"]
    assert figures["completed"] == 4
    assert {"ttft_s.p95", "link.h2d_bytes", "planner.calls", "goodput_rps"} <= set(figures)
    assert not any(isinstance(value, dict) for value in figures.values())
    assert sorted(path.name for path in OUT.iterdir()) == ["cells.jsonl", "lock", "study.json"]


def test_the_summary_does_not_depend_on_who_was_first(make_study: MakeStudy) -> None:
    study = make_study("policy=no-offload,dynamic", "slo_scale=1,2", seeds=2)
    contents = []
    for workers in (1, 3):
        written = run(study, workers=workers)
        rows = {row_id(row): row for row in written}
        contents.append(json.dumps(summary(study, results(study, rows))))
        for name in ("cells.jsonl", "study.json"):
            (OUT / name).unlink()
    assert contents[0] == contents[1]


def test_a_study_goes_on_where_it_was_cut(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2,3,4", policies=["dynamic"])
    run(study, quick)
    whole = (OUT / "cells.jsonl").read_bytes()
    for kept in (whole[: len(whole) // 2], whole[:-1], whole[:3], b""):
        (OUT / "cells.jsonl").write_bytes(kept)
        assert len(run(study, quick)) == 4 - kept.count(b"\n")
        assert {row["cell"]["slo_scale"] for row in lines()} == {1, 2, 3, 4}
        assert len(lines()) == 4
    assert run(study, quick) == []


def test_a_row_that_is_none_is_refused(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2", policies=["dynamic"])
    run(study, quick)
    (OUT / "cells.jsonl").write_text('{"cell": {}}\n')
    with pytest.raises(UserError, match=r"cells\.jsonl:1 is not a row"):
        run(study, quick)


def test_another_study_is_refused(make_study: MakeStudy) -> None:
    run(make_study("slo_scale=1,2", policies=["dynamic"]), quick)
    with pytest.raises(UserError, match=r"another study \(it differs in grid\)"):
        run(make_study("slo_scale=1,3", policies=["dynamic"]), quick)
    with Path("tiny.jsonl").open("a") as trace:
        trace.write('{"timestamp": 9000, "input_length": 10, "output_length": 10}\n')
    from orbitflow.study import study as plan

    plan.read.cache_clear()
    with pytest.raises(UserError, match="inputs"):
        run(make_study("slo_scale=1,2", policies=["dynamic"]), quick)


def test_a_folder_of_something_else_is_left_alone(make_study: MakeStudy) -> None:
    OUT.mkdir()
    (OUT / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds something else"):
        run(make_study("slo_scale=1,2"), quick)
    assert [path.name for path in OUT.iterdir()] == ["thesis.txt"]


def test_two_studies_on_one_folder(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2", policies=["dynamic"])
    with (
        StudyFolder(OUT, study),
        pytest.raises(UserError, match="out: another study is running in it"),
    ):
        StudyFolder(OUT, study)
    assert len(run(study, quick)) == 2


def test_failures_are_rows_and_are_tried_again(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2,3,4", policies=["dynamic"])
    run(study, picky)
    errors = {row["cell"]["slo_scale"]: row["error"] for row in lines()}
    assert errors == {
        1: None,
        2: "PolicyError: does not fit",
        3: "ZeroDivisionError: by zero",
        4: None,
    }
    with StudyFolder(OUT, study) as folder:
        assert len(unfinished(study, folder.rows)) == 2
    assert len(run(study, quick)) == 2
    assert len(lines()) == 6
    with StudyFolder(OUT, study) as folder:
        assert not unfinished(study, folder.rows)
        assert all(result.failed == 0 for result in results(study, folder.rows))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_killed_worker_takes_only_its_own_cell_down(make_study: MakeStudy, workers: int) -> None:
    study = make_study("slo_scale=1,2,3,4,5", policies=["dynamic"])
    written = run(study, deadly, workers)
    failed = [row for row in written if row["status"] == "failed"]
    assert [row["error"] for row in failed] == ["worker died"] * 2  # tried again once, not more
    assert {row["cell"]["slo_scale"] for row in failed} == {2}
    assert {r["cell"]["slo_scale"] for r in written if r["status"] == "ok"} == {1, 3, 4, 5}
    assert not multiprocessing.active_children()


def test_a_worker_killed_once_is_made_good(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2,3", policies=["dynamic"])
    states = [row["status"] for row in run(study, deadly_once) if row["cell"]["slo_scale"] == 2]
    assert states == ["failed", "ok"]
    assert run(study, quick) == []


def test_an_interrupt_leaves_finished_cells_and_no_processes(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2,3,4", policies=["dynamic"])

    def interrupt(row: Row) -> None:
        if row["cell"]["slo_scale"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), StudyFolder(OUT, study) as folder:
        run_study(study, folder, workers=2, on_row=interrupt, work=slow, start_method="fork")
    assert [row["cell"]["slo_scale"] for row in lines()] == [1, 3, 4]
    assert not multiprocessing.active_children()
    assert [row["cell"]["slo_scale"] for row in run(study, quick)] == [2]


def test_numbered_folders(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2")
    for number in (1, 2):
        with StudyFolder.numbered(study) as folder:
            assert folder.path == Path("studies") / f"tiny-{number}"
