"""A solver that fails or lies: its plans are never executed, the search's plan stands."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from reference.harness import serve
from reference.plans import tiny_problem
from strategies import small_machine

import orbitflow.planner.ilp as ilp
from orbitflow.config import RunConfig, SolverName, Tuning
from orbitflow.planner.check import faults
from orbitflow.planner.planner import improve, quick
from orbitflow.planner.solver import Effort, Solved, Status
from orbitflow.policy.orbit.policy import Orbit
from orbitflow.policy.orbitflow.policy import OrbitFlow
from orbitflow.request import Request
from orbitflow.scenario import build_scenario
from orbitflow.sim.run import simulate_policy
from orbitflow.study.task import Discard


def _lying(values: float) -> object:
    def solve(
        problem: object, variables: Sequence[object], *, effort: Effort,
        start: Sequence[float] | None = None,
    ) -> Solved:  # fmt: skip
        return Solved(Status.OPTIMAL, 0.0, (values,) * len(variables), "")

    return solve


def _failing(*args: object, **kwargs: object) -> Solved:
    return Solved(Status.FAILED, None, (), "it fell over")


@pytest.mark.parametrize("solver", [_lying(0.0), _lying(1.0), _lying(float("nan")), _failing])
def test_the_start_stands(monkeypatch: pytest.MonkeyPatch, solver: object) -> None:
    monkeypatch.setattr(ilp, "solve", solver)
    tried = 0
    for seed in range(60):
        problem = tiny_problem(seed)
        start = quick(problem)
        if start is None:
            continue
        tried += 1
        plan = improve(problem, start, nodes=10)
        assert plan.score.loss <= start.score.loss
        if plan.options != start.options:
            assert plan.by == "ilp", "only a plan that is sound and better may replace it"
            assert faults(problem, plan.options, plan.score) == []
    assert tried > 20


@pytest.mark.parametrize("kind", [OrbitFlow, Orbit])
def test_a_run_goes_on_and_counts(
    monkeypatch: pytest.MonkeyPatch, kind: type[OrbitFlow | Orbit]
) -> None:
    monkeypatch.setattr(ilp, "solve", _failing)
    machine = small_machine(300, link_bytes_per_s=3.1e6)
    requests = [Request(i, 0.01 * i, 20 + 3 * i, 50) for i in range(8)]
    policy = kind()
    policy.configure(Tuning(gate=False, solver=SolverName.ILP))
    run = serve(policy, machine, requests, tbt_limit_s=0.03)
    assert len(run.finished) == 8
    assert policy.planning is not None
    assert policy.planning.troubles, "every plan is asked of the program"
    assert set(policy.planning.troubles) == {"it fell over"}


def test_a_person_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp, "solve", _failing)
    config = RunConfig(
        trace="azure_conv", policies=("orbitflow",), num_requests=60, kv_capacity_tokens=9_000,
        max_batch=8, no_gate=True, solver=SolverName.ILP, rate_scale=1.0, slo_scale=1.0,
    )  # fmt: skip
    report = simulate_policy(build_scenario(config), "orbitflow", Discard(), lambda _: None)
    planner = report.figures["planner"]
    assert isinstance(planner, dict)
    assert planner["solver_troubles"] == planner["calls"] > 1
    (notice,) = report.notices
    assert "no usable plan" in notice
    assert "it fell over" in notice
    assert report.figures["completed"] == 60
