"""Bounds in a study: computed once per group and seed, kept, and compared with what covers them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orbitflow.cli.study_tables import print_results
from orbitflow.study.folder import StudyFolder
from orbitflow.study.runner import run_study, unfinished
from orbitflow.study.stored import Row
from orbitflow.study.study import Study
from orbitflow.study.summary import CellResult, results, summary
from orbitflow.study.task import StudyTask, Work, do_task
from study.conftest import MakeStudy

OUT = Path("out")
GRID = ("policy=no-offload,dynamic,preempt-recompute", "slo_scale=1,2")


def run(study: Study, work: Work) -> list[Row]:
    """Run or go on with the study in OUT. Give the rows that were written."""
    written: list[Row] = []
    with StudyFolder(OUT, study) as folder:
        run_study(study, folder, workers=2, on_row=written.append, work=work, start_method="fork")
    return written


def found(study: Study) -> list[CellResult]:
    with StudyFolder(OUT, study) as folder:
        return results(study, folder.rows)


def fake(task: StudyTask) -> dict[str, object]:
    """Figures that differ from seed to seed; `dynamic` reaches half of the bound."""
    if task.is_bound:
        return {"timely_share": 0.8 / (1 + task.config.seed), "goodput_rps": 0.0}
    reached = 0.4 / (1 + task.config.seed)
    drops = task.config.policies == ("preempt-recompute",)
    return {"timely_share": reached, "goodput_rps": 0.0, "lossy": False, "dropped": int(drops)}


def broken(task: StudyTask) -> dict[str, object]:
    if task.is_bound and task.config.slo_scale == 2:
        raise ZeroDivisionError("by zero")
    return fake(task)


def test_a_bound_per_group_and_seed_before_the_policies(make_study: MakeStudy) -> None:
    study = replace(make_study(*GRID, seeds=3), bounded=True)
    assert len(study.bounds()) == 2 * 3
    assert study.jobs()[:6] == study.bounds()
    assert study.jobs()[6:] == study.simulations()
    written = run(study, fake)
    bounds = [row for row in written if "policy" not in row["cell"]]
    assert Counter((row["cell"]["slo_scale"], row["seed"]) for row in bounds) == {
        (scale, seed): 1 for scale in (1, 2) for seed in range(3)
    }
    assert len(written) == 6 + 18
    assert run(study, fake) == []


def test_seeds_in_the_grid(make_study: MakeStudy) -> None:
    study = replace(make_study("policy=no-offload,dynamic", "seed=3,5"), bounded=True)
    assert [job.seed for job in study.bounds()] == [3, 5]
    run(study, fake)
    shares = [r.bound.share for r in found(study) if r.bound is not None]
    assert [s["timely_share"].mean for s in shares if s is not None] == [0.5] * 4


def test_a_study_begun_without_bounds_gets_them_and_nothing_else(make_study: MakeStudy) -> None:
    plain = make_study(*GRID)
    run(plain, fake)
    bounded = replace(plain, bounded=True)
    assert len(unfinished(bounded, {})) == 8
    rows = run(bounded, fake)
    assert [set(row["cell"]) for row in rows] == [{"slo_scale"}] * 2
    assert all(result.bound is None for result in found(plain))
    assert "bound" not in json.dumps(summary(plain, found(plain)))
    assert run(plain, fake) == []


def test_shares_are_of_the_same_seed(make_study: MakeStudy) -> None:
    """Figures 0.4 and 0.2 of bounds 0.8 and 0.4: half, without any spread."""
    study = replace(make_study(*GRID, seeds=2), bounded=True)
    run(study, fake)
    first = found(study)[0]
    assert first.bound is not None
    assert first.bound.figures["timely_share"].mean == pytest.approx(0.6)
    assert first.bound.share is not None
    assert first.bound.share["timely_share"] == (0.5, 0.0)
    assert "goodput_rps" not in first.bound.share  # a share of nothing is undefined


def test_who_dropped_kv_has_no_share(
    make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study = replace(make_study(*GRID), bounded=True)
    run(study, fake)
    cells: Any = summary(study, found(study))["cells"]
    for cell in cells:
        drops = cell["cell"]["policy"] == "preempt-recompute"
        assert (cell["share_of_bound"] is None) == drops
        assert cell["bound"]["timely_share"] == {"mean": 0.8, "half_width": None}
        assert cell["bound_error"] is None
    print_results(study, found(study), OUT)
    shown = capsys.readouterr().out
    assert "no share of the bound for preempt-recompute: the bound does not cover" in shown
    assert sum("│ bound " in line for line in shown.splitlines()) == 2


def test_a_failing_bound_is_recorded_and_tried_again(
    make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study = replace(make_study(*GRID), bounded=True)
    run(study, broken)
    cells: Any = summary(study, found(study))["cells"]
    errors = {cell["cell"]["slo_scale"]: cell["bound_error"] for cell in cells}
    assert errors == {1: None, 2: "ZeroDivisionError: by zero"}
    assert [cell["failed"] for cell in cells] == [0] * 6
    print_results(study, found(study), OUT)
    assert capsys.readouterr().out.count("slo_scale=2.0: no bound; ZeroDivisionError") == 1
    assert [row["status"] for row in run(study, fake)] == ["ok"]


@pytest.mark.parametrize("rule", ["all", "policy", "none"])
def test_no_policy_exceeds_the_bound(make_study: MakeStudy, rule: str) -> None:
    study = replace(
        make_study(
            "policy=all",
            f"deposit={rule}",
            "kv_capacity_tokens=4000,8000",
            "slo_tbt=20ms,40ms",
            "output_scale=0.6",  # bounds of so few requests take long where outputs are
        ),
        bounded=True,
    )
    run(study, do_task)
    compared = 0
    for result in found(study):
        assert result.bound is not None
        assert result.bound.error is None
        for share in (result.bound.share or {}).values():
            assert share.mean <= 1 + 1e-9
            compared += 1
    assert compared > 100


def test_a_trace_of_which_nothing_can_be_placed(make_study: MakeStudy) -> None:
    study = replace(make_study("policy=dynamic", "kv_capacity_tokens=16"), bounded=True)
    run(study, do_task)
    (result,) = found(study)
    assert result.bound is not None
    assert result.bound.error is None
    assert result.bound.figures["slo_attainment"].mean == 0
