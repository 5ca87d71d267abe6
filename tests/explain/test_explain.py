"""What is shown of a decision agrees with the formulas, the account and a run's own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.cli.plan import scenario_for
from orbitflow.config import PipelineForm, RunConfig, SolverName
from orbitflow.engine.policy import Policy
from orbitflow.explain import batch as batch_module
from orbitflow.explain.batch import Batch, explain_batch
from orbitflow.explain.decision import Binding, DecisionShown, Fate
from orbitflow.explain.moment import explain_moment
from orbitflow.policy.orbitflow.policy import OrbitFlow
from orbitflow.policy.registry import policy_names
from orbitflow.results.run_folder import RunFolder
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.session import outfit
from orbitflow.sim.run import simulate_policy
from orbitflow.slo import next_due_s

CONTEXTS = (2000, 8000, 16000, 4000)


def scene(batch: Batch, **options: object) -> Scenario:
    config = RunConfig(trace="contexts", **{"kv_capacity_tokens": 20_000, **options})  # type: ignore[arg-type]
    return scenario_for(config, batch)


def shown(name: str, batch: Batch, **options: object) -> DecisionShown:
    answer = explain_batch(scene(batch, **options), name, batch)
    assert isinstance(answer, DecisionShown), answer
    return answer


@pytest.mark.parametrize("name", policy_names())
def test_what_is_shown_fits_and_adds_up(name: str) -> None:
    batch = Batch(CONTEXTS, (0.0, 2.0, 1.0, 0.5), waiting=(300,))
    answer = shown(name, batch)
    memory, decode = answer.memory, answer.decode
    assert memory.gpu_pages <= memory.gpu_limit_pages
    held = sum(row.gpu_bytes for row in answer.requests)
    assert held + memory.ring_pages * memory.page_bytes <= memory.gpu_pages * memory.page_bytes
    assert [row.id for row in answer.requests] == [0, 1, 2, 3, 4]
    assert decode is not None
    assert decode.pass_s == pytest.approx(decode.compute_s + decode.stall_s)
    streamed = sum(row.streamed_bytes for row in answer.requests)
    assert decode.h2d_bytes == pytest.approx(streamed, rel=1e-6)  # shares are rounded by layer
    active = [r for r in answer.requests if r.fate in (Fate.RUNS, Fate.ADMITTED)]
    assert decode.requests == len(active)


def test_nothing_binds_where_everything_fits() -> None:
    """A pass of the A5000: 0.0495 + 9.63e-7 x 3,000."""
    answer = shown("dynamic", Batch((1000, 2000)))
    assert answer.binding is Binding.COMPUTE
    assert answer.decode is not None
    assert answer.decode.pass_s == pytest.approx(0.0495 + 9.63e-7 * 3000)


def test_a_ring_pass_settles_on_the_link() -> None:
    """X of static-1 exceeds C by far, so prefetching runs all the time: T = X, but for the ring."""
    answer = shown("static-1", Batch(CONTEXTS))
    assert answer.binding is Binding.LINK
    assert answer.decode is not None
    assert answer.decode.pass_s == pytest.approx(answer.decode.link_s, rel=0.02)


def test_the_papers_pipeline_starts_every_pass_afresh() -> None:
    ring = shown("static-8", Batch(CONTEXTS), kv_capacity_tokens=29_000)
    paper = shown(
        "static-8",
        Batch(CONTEXTS),
        kv_capacity_tokens=29_000,
        pipeline=PipelineForm.PAPER,
    )
    assert ring.decode is not None
    assert paper.decode is not None
    assert paper.decode.link_s == pytest.approx(ring.decode.link_s)
    assert paper.decode.stall_s >= ring.decode.stall_s


def test_the_cpu_is_named_where_it_works() -> None:
    assert shown("zero-inference", Batch(CONTEXTS)).binding is Binding.HOST


@given(
    balance_s=st.floats(0, 50, allow_nan=False),
    tbt_limit_s=st.floats(0.01, 2),
)
def test_seats_have_the_balance_asked_for(balance_s: float, tbt_limit_s: float) -> None:
    (seat,) = Batch((100_000,), (balance_s,)).seats(tbt_limit_s)
    times = seat.token_times_s
    assert next_due_s(times, tbt_limit_s) == pytest.approx(balance_s, abs=1e-6)
    assert times[0] <= 1e-6
    assert (times[1:] == 0).all()
    assert seat.request.prompt_tokens + len(times) == 100_000


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Policy]:
    """The policies that were asked."""
    policies: list[Policy] = []

    def spied(scenario: Scenario, name: str) -> Policy:
        policies.append(outfit(scenario, name))
        return policies[-1]

    monkeypatch.setattr(batch_module, "outfit", spied)
    return policies


def test_the_planner_is_asked_about_these_balances(asked: list[Policy]) -> None:
    balances = (0.0, 2.0, 1.0, 0.05)
    answer = shown("orbitflow", Batch(CONTEXTS, balances))
    (policy,) = asked
    assert isinstance(policy, OrbitFlow)
    assert policy.last_draft is not None
    problem = policy.last_draft.problem
    assert [r.due_s for r in problem.candidates] == pytest.approx(balances)
    assert [r.context_tokens for r in problem.candidates] == list(CONTEXTS)
    assert not any(r.host for r in problem.candidates), "all start on the GPU"
    assert answer.planner is not None
    assert answer.planner.loss == policy.last_draft.plan.score.loss


def test_who_is_far_ahead_rests() -> None:
    """Two of three fit and streaming is slow: whoever can wait longest is left out."""
    for ahead in range(3):
        balances = tuple(60.0 if row == ahead else 0.0 for row in range(3))
        answer = shown("orbitflow", Batch((8000, 8000, 8000), balances), link_scale=0.1)
        fates = [row.fate for row in answer.requests]
        assert fates == [Fate.PAUSED if row == ahead else Fate.RUNS for row in range(3)]


def trace(folder: Path) -> str:
    rows = [(400 * i, 900 + 137 * (i % 7), 40 + 11 * (i % 5)) for i in range(40)]
    path = folder / "burst.jsonl"
    path.write_text(
        "".join(
            json.dumps({"timestamp": t, "input_length": p, "output_length": o}) + "\n"
            for t, p, o in rows
        )
    )
    return str(path)


@pytest.mark.parametrize("name", ["orbitflow", "dynamic", "no-offload", "preempt-swap"])
def test_a_moment_shows_what_the_run_decided(name: str, tmp_path: Path) -> None:
    """The last line of `decisions.jsonl` before the moment says whom it placed where."""
    config = RunConfig(trace=trace(tmp_path), policies=(name,), kv_capacity_tokens=10_000)
    scenario = build_scenario(config)
    folder = RunFolder(tmp_path / "run")
    simulate_policy(scenario, name, folder, lambda n: None)
    lines = (tmp_path / "run" / name / "decisions.jsonl").read_text().splitlines()
    decisions = [json.loads(line) for line in lines]
    for at_s in (3.0, 7.77, 15.0):
        answer = explain_moment(scenario, name, at_s)
        assert isinstance(answer, DecisionShown)
        inside: set[int] = set()
        paused: set[int] = set()
        last = None
        for decision in decisions:
            if decision["t_s"] > answer.decided_s:
                break
            last = decision
            inside |= {*decision["admit"]}
            paused = (paused | {*decision["park"]}) - {*decision["resume"]}
        assert last is not None
        assert answer.decided_s <= at_s
        there = {row.id for row in answer.requests if row.fate is not Fate.WAITS}
        assert there <= inside
        assert {row.id for row in answer.requests if row.fate is Fate.PAUSED} == paused & there
        if last["t_s"] == answer.decided_s:
            for row in answer.requests:
                if row.fate in (Fate.RUNS, Fate.ADMITTED):
                    wanted = last["exceptions"].get(str(row.id), last["host_layers"])
                    assert list(row.host_layers) == wanted


def test_a_moment_after_the_end_and_between_requests(tmp_path: Path) -> None:
    path = tmp_path / "two.jsonl"
    path.write_text(
        '{"timestamp": 0, "input_length": 10, "output_length": 2}\n'
        '{"timestamp": 60000, "input_length": 10, "output_length": 2}\n'
    )
    scenario = build_scenario(RunConfig(trace=str(path)))
    gap, after = (explain_moment(scenario, "dynamic", at_s) for at_s in (30.0, 100.0))
    assert "the next step begins at 60s" in getattr(gap, "reason", "")
    assert "all is served after 60." in getattr(after, "reason", "")


def test_the_integer_program_is_waited_for() -> None:
    """What is shown is the better plan of the integer program, where it is asked."""
    contexts = (2947, 676, 3458, 3898, 1859, 1693, 2661)
    batch = Batch(contexts, (0.07, 0.3, 0.6, 0.0, 0.68, 0.34, 0.31))
    options = {"profile": "h100-roofline", "solver": SolverName.ILP}
    answer = shown("orbitflow", batch, kv_capacity_tokens=14_928, **options)
    planner = answer.planner
    assert planner is not None
    assert (planner.by, planner.asked_solver, planner.trouble) == ("ilp", True, None)
    assert any("the ILP's plan" in reason for reason in answer.why)
