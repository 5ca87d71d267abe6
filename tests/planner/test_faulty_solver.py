"""A solver that fails or lies: its plans are never executed, the search's plan stands."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from orbitflow.planner.solver import Effort, Status
from orbitflow.policy.orbitflow.policy import OrbitFlow
from reference.harness import serve
from reference.plans import random_problem
from strategies import small_machine

import orbitflow.planner.ilp as ilp
from orbitflow.config import RunConfig
from orbitflow.planner.planner import improve, quick
from orbitflow.planner.solvers import Answer, SolverName
from orbitflow.request import Request
from orbitflow.scenario import build_scenario
from orbitflow.sim.run import simulate_policy
from orbitflow.study.task import Discard


def _lying(values: float) -> object:
    def solve(
        problem: object, variables: Sequence[object], *, solver: SolverName, effort: Effort,
        start: Sequence[float] | None = None,
    ) -> Answer:  # fmt: skip
        return Answer(Status.OPTIMAL, 0.0, (values,) * len(variables), "liar", "")

    return solve


def _failing(*args: object, **kwargs: object) -> Answer:
    return Answer(Status.FAILED, None, (), "broken", "it fell over")


@pytest.mark.parametrize("solver", [_lying(0.0), _lying(1.0), _lying(float("nan")), _failing])
def test_the_start_stands(monkeypatch: pytest.MonkeyPatch, solver: object) -> None:
    monkeypatch.setattr(ilp, "solve", solver)
    tried = 0
    for seed in range(60):
        problem = random_problem(seed)
        start = quick(problem)
        if start is None or start.score.loss == 0:
            continue
        tried += 1
        answer = improve(problem, start, SolverName.AUTO, nodes=10)
        assert answer.score.rank <= start.score.rank
        if answer.choice == start.choice:
            continue
        assert answer.by == "ilp", "only a plan that is sound and better may replace it"
    assert tried


def test_a_run_goes_on_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp, "solve", _failing)
    machine = small_machine(300, link_bytes_per_s=3.1e6)
    requests = [Request(i, 0.01 * i, 20 + 3 * i, 50) for i in range(8)]
    policy = OrbitFlow()
    policy.configure(type(policy._tuning)(gate=False))
    run = serve(policy, machine, requests, tau_s=0.03)
    assert len(run.finished) == 8
    assert policy.planning is not None
    assert policy.planning.troubles, "eight requests on a tight machine want the ILP"
    assert set(policy.planning.troubles) == {"it fell over"}


def test_a_person_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp, "solve", _failing)
    config = RunConfig(
        trace="azure_conv", policies=("orbitflow",), num_requests=60, kv_capacity_tokens=9_000,
        max_batch=8, no_gate=True, rate_scale=1.0, slo_scale=1.0,
    )  # fmt: skip
    report = simulate_policy(build_scenario(config), "orbitflow", Discard(), lambda _: None)
    planner = report.figures["planner"]
    assert isinstance(planner, dict)
    assert planner["solver_troubles"] == planner["calls"] > 1
    (notice,) = report.notices
    assert "no usable plan" in notice
    assert "it fell over" in notice
    assert report.figures["completed"] == 60
