"""What all cells share: the SLO of the base configuration, and seeds that differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orbitflow.errors import UserError
from orbitflow.request import Request
from orbitflow.results.run_folder import RunFolder
from orbitflow.scenario import build_scenario
from orbitflow.sim.run import simulate_policy
from orbitflow.study.runner import task_of
from orbitflow.study.task import do_task
from study.conftest import MakeStudy


def test_what_if_changes_keep_the_promise_of_the_base(make_study: MakeStudy) -> None:
    study = make_study("compute_scale=0.5,1,2", "kv_capacity_tokens=20000,40000")
    base = study.scenario
    prompt = Request(0, 0.0, 10_000, 10)
    for job in study.jobs():
        slo = study.slo(job)
        assert slo.tbt_limit_s == base.slo.tbt_limit_s
        # under half the speed a prefill takes twice as long, and its limit stays
        other = make_study("policy=dynamic").scenario.believed
        assert slo.ttft_of(prompt, other) == base.slo.ttft_of(prompt, base.believed)
        assert slo.ttft_s == base.slo.ttft_s


def test_the_scale_in_the_grid_scales_the_base_full_pass(make_study: MakeStudy) -> None:
    base = make_study("policy=dynamic", slo_scale=1.0).scenario.slo.tbt_limit_s
    study = make_study("slo_scale=1,2.5", "compute_scale=1,2", slo_tbt_s=0.3)
    tbt_limits_s = {
        job.cell.values["slo_scale"]: study.slo(job).tbt_limit_s for job in study.jobs()
    }
    assert tbt_limits_s == {1.0: base, 2.5: 2.5 * base}


def test_a_limit_in_the_grid_is_taken_as_it_is(make_study: MakeStudy) -> None:
    study = make_study("slo_tbt=100ms,200ms", "slo_ttft=1s,3s")
    assert {study.slo(job).tbt_limit_s for job in study.jobs()} == {0.1, 0.2}
    assert {study.slo(job).ttft_s for job in study.jobs()} == {1.0, 3.0}


def test_the_limit_reaches_the_simulation(make_study: MakeStudy) -> None:
    """Compute at a hundredth of the speed: every figure of the promise is missed."""
    study = make_study("compute_scale=0.01,1", policies=["no-offload"])
    slow, usual = [do_task(task_of(study, job)) for job in study.jobs()]
    assert slow["ttft_attainment"] == 0
    assert usual["ttft_attainment"] == 1


def test_a_cell_has_the_figures_of_a_run(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study("policy=no-offload,dynamic", "kv_capacity_tokens=8000")
    for job in study.jobs():
        figures = do_task(task_of(study, job))
        scenario = replace(build_scenario(study.config(job)), slo=study.slo(job))
        folder = RunFolder(tmp_path / job.cell.policy)
        report = simulate_policy(scenario, job.cell.policy, folder, lambda _: None)
        for name, value in figures.items():
            expected: Any = report.figures
            for part in name.split("."):
                expected = expected[part]
            assert value == expected


def test_policies_of_the_base_are_an_axis(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1,2", policies=["dynamic", "static-3"])
    assert [job.cell.policy for job in study.jobs()] == [
        "dynamic",
        "dynamic",
        "static-3",
        "static-3",
    ]
    assert all(study.config(job).policies == (job.cell.policy,) for job in study.jobs())


def test_seeds_shake_the_arrivals(make_study: MakeStudy) -> None:
    study = make_study("policy=dynamic", seeds=3)
    assert [job.seed for job in study.jobs()] == [0, 1, 2]
    assert study.base.arrival_jitter == 0.01
    assert "--arrival-jitter 0.01" in study.notices[0]
    given = make_study("policy=dynamic", seeds=3, jitter=0.2)
    assert given.base.arrival_jitter == 0.2
    assert not given.notices
    assert "same figures" in make_study("policy=dynamic", seeds=2, jitter=0.0).notices[0]
    assert make_study("policy=dynamic").base.arrival_jitter == 0


def test_seeds_as_an_axis(make_study: MakeStudy) -> None:
    study = make_study("policy=dynamic", "seed=3,5")
    assert [job.seed for job in study.jobs()] == [3, 5]
    assert [study.config(job).seed for job in study.jobs()] == [3, 5]


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (("slo_scale=1", "slo_tbt=1s"), "exclude each other"),
        (("slo_scale=1,-2",), "slo-scale -2.0 must be"),
        (("arrival_jitter=0.5,1.5",), "less than 1"),
        (("profile=a5000-rooflin",), "did you mean"),
        (("model=nothing-9b",), "nothing-9b"),
        (("trace=tiny.jsonl,none.jsonl",), "none.jsonl"),
    ],
)
def test_bad_values_are_refused_before_anything_runs(
    make_study: MakeStudy, grid: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        make_study(*grid)


def test_two_sources_of_seeds_or_policies_are_refused(make_study: MakeStudy) -> None:
    with pytest.raises(UserError, match="--seeds and --grid seed"):
        make_study("seed=1,2", seeds=2)
    with pytest.raises(UserError, match="--policy and --grid policy"):
        make_study("policy=dynamic", policies=["static-1"])
    with pytest.raises(UserError, match="--seeds 0"):
        make_study("policy=dynamic", seeds=0)
