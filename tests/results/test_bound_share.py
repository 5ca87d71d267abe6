"""Shares of the bound: who has one, and what they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reference.lines import lines

from orbitflow.bound.bound import Bound
from orbitflow.config import DepositRule, RunConfig
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.request import Request
from orbitflow.results import bound_share
from orbitflow.results.bound_share import bound_figures, bound_of, is_covered, shares_of_bound
from orbitflow.scenario import build_scenario
from orbitflow.slo import Slo

BOUND = Bound(0.8, 0.5, 0.5, 1.0, 0.0)


def test_the_part_of_the_bound() -> None:
    figures = {"timely_share": 0.4, "slo_attainment": 0.5, "tpot_attainment": None}
    shares = shares_of_bound({**figures, "goodput_rps": 0.0}, bound_figures(BOUND))
    assert shares == {
        "timely_share": 0.5,
        "slo_attainment": 1.0,
        "ttft_attainment": None,
        "tpot_attainment": None,
        "goodput_rps": None,  # of nothing
    }


@pytest.mark.parametrize(
    ("figures", "covered"),
    [
        ({}, True),
        ({"lossy": True, "dropped": 0}, False),
        ({"cpu_attends": True, "dropped": 0}, False),
        ({"recomputes": True}, False),
        ({"recomputes": True, "dropped": 0}, True),  # it may, and did not
        ({"recomputes": True, "dropped": 3}, False),
        ({"recomputes": False, "dropped": 0}, True),
    ],
)
def test_who_is_covered(figures: dict[str, Any], covered: bool) -> None:
    assert is_covered(figures) == covered
    assert (shares_of_bound(figures, bound_figures(BOUND)) is not None) == covered


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "tiny.jsonl"
    path.write_text(json.dumps({"timestamp": 0, "input_length": 10, "output_length": 5}) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("rule", "deposit"),
    [(DepositRule.ALL, True), (DepositRule.POLICY, True), (DepositRule.NONE, False)],
)
def test_early_tokens_are_banked_unless_nobody_s_are(
    trace: str, monkeypatch: pytest.MonkeyPatch, rule: DepositRule, deposit: bool
) -> None:
    scenario = build_scenario(RunConfig(trace=trace, deposit=rule))
    asked: list[bool] = []

    def bound(*_: object, deposit: bool) -> Bound:
        asked.append(deposit)
        return BOUND

    monkeypatch.setattr(bound_share, "upper_bound", bound)
    assert bound_of(scenario) == BOUND
    assert asked == [deposit]


@pytest.mark.parametrize(
    ("perturb", "factor"), [(None, 1.0), ("compute=3", 3.0), ("compute=3,noise=0.5", 1.5)]
)
def test_the_machine_is_the_true_one_at_its_quickest_and_the_promise_the_profile_s(
    trace: str, monkeypatch: pytest.MonkeyPatch, perturb: str | None, factor: float
) -> None:
    scenario = build_scenario(RunConfig(trace=trace, perturb=perturb))
    seen: list[tuple[float, float]] = []

    def bound(
        requests: list[Request], cost: CostModel, limits: KvLimits, batch: int, slo: Slo, **_: bool
    ) -> Bound:
        seen.append((lines(cost).decode.base_s, slo.ttft_of(requests[0], cost)))
        return BOUND

    monkeypatch.setattr(bound_share, "upper_bound", bound)
    bound_of(scenario)
    believed, (request,) = scenario.believed, scenario.trace.requests()
    (found,) = seen
    assert found[0] == pytest.approx(factor * lines(believed).decode.base_s)
    assert found[1] == scenario.slo.ttft_of(request, believed)
