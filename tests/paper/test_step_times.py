"""The paper's count: durations of passes, nothing of what lies between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paper.step_times import StepTimes
from benchmarks.paper.work import do_paper_task
from orbitflow.config import DepositRule, RunConfig
from orbitflow.request import Request
from orbitflow.results.metrics import pace
from orbitflow.scenario import build_scenario
from orbitflow.step import Events, Finished, Step, StepOutcome, TokenSegment
from orbitflow.study.task import StudyTask, do_task


def step(ids: tuple[int, ...], passes: int) -> Step:
    return Step(0, (), ids, 0, None, (), 0, (), passes, 0, False)


def outcome(start_s: float, *pass_s: float) -> StepOutcome:
    ends = start_s + np.cumsum(pass_s)
    end_s = float(ends[-1]) if pass_s else start_s + 5
    return StepOutcome(start_s, ends, 0.0, 0.0, 0, 0, (), end_s)


def events(*finished: Request) -> Events:
    """The token times are not looked at."""
    ended = tuple(Finished(request, 0.0, np.empty(0), 0.0) for request in finished)
    return Events((), (), TokenSegment((), np.empty(0)), (), (), ended)


def test_a_case_by_hand() -> None:
    """With tau 0.2: passes of 0.1, 0.3 and 0.5 s, with prompts and a park of 100 s between them.

    Without deposit the second and the third are late. With it the first one's 0.1 s pays for the
    second; the third comes 0.3 s after its reader wants it.
    """
    first, second = Request(0, 0.0, 10, 4), Request(1, 0.0, 10, 1)
    counted = StepTimes(0.2)
    counted.stepped(step((), 0), outcome(0.0), events(second))
    counted.stepped(step((0,), 1), outcome(5.0, 0.1), events())
    counted.stepped(step((0,), 2), outcome(105.1, 0.3, 0.5), events(first))
    counted.refused(Request(2, 0.0, 10, 5), "too long")
    figures = counted.figures(banks=True)
    assert figures["paper.tbt_plain"] == pytest.approx(1 - (2 + 5) / 10)
    assert figures["paper.tbt_banked"] == pytest.approx(1 - (1 + 5) / 10)
    assert figures["paper.tbt_attainment"] == figures["paper.tbt_banked"]
    assert figures["paper.tpot_attainment"] == pytest.approx(1 / 3)  # 0.3 s on average is too slow
    assert figures["paper.tbt_mean_s"] == pytest.approx(0.3)
    assert counted.figures(banks=False)["paper.tbt_attainment"] == figures["paper.tbt_plain"]


def test_nothing_to_measure() -> None:
    assert set(StepTimes(1.0).figures(banks=True).values()) == {None}


@given(
    pass_s=st.lists(st.floats(0.001, 1), min_size=1, max_size=30),
    cuts=st.lists(st.tuples(st.integers(1, 5), st.floats(0, 100)), max_size=10),
    tbt_limit_s=st.floats(0.01, 1),
)
def test_gaps_between_steps_do_not_count(
    pass_s: list[float], cuts: list[tuple[int, float]], tbt_limit_s: float
) -> None:
    """However passes fall into steps, it is the pace of passes without a gap."""
    counted, rest, now_s = StepTimes(tbt_limit_s), list(pass_s), 0.0
    for count, idle_s in [*cuts, (len(pass_s), 0.0)]:
        taken, rest = rest[:count], rest[count:]
        now_s += idle_s
        if taken:
            counted.stepped(step((0,), len(taken)), outcome(now_s, *taken), events())
            now_s += sum(taken)
    tokens = len(pass_s) + 1
    counted.stepped(step((), 0), outcome(now_s), events(Request(0, 0.0, 1, tokens)))
    clock = np.concatenate(([0.0], np.cumsum(pass_s)))
    for banks in (False, True):
        late = pace(clock, tbt_limit_s, deposit=banks).late_tokens
        found = counted.figures(banks=banks)["paper.tbt_attainment"]
        assert isinstance(found, float)
        assert abs(found - (1 - late / tokens)) <= 1.5 / tokens  # a pass of tau, give or take 1e-16


@pytest.mark.parametrize("policy", ["static-1", "dynamic"])
def test_both_counts_are_one_for_a_request_alone(policy: str) -> None:
    """Nobody else's prompt, no pause: then only the first token is counted differently."""
    config = RunConfig(
        trace="paper:requests=1,mix=MM:1",
        profile="a5000-llama3-8b-paper",
        policies=(policy,),
        kv_capacity_tokens=3_000,
        slo_scale=1.0,
        deposit=DepositRule.NONE,
    )
    task = StudyTask(config, build_scenario(config).slo)
    both, fair = do_paper_task(task), do_task(task)
    due = int(build_scenario(config).trace.output_tokens[0]) - 1
    late = [round((1 - float(both["paper.tbt_plain"])) * (due + 1))]  # type: ignore[arg-type]
    late.append(round((1 - float(fair["tbt_attainment"])) * due))  # type: ignore[arg-type]
    assert late[0] == late[1]
    assert both["timely_share"] == fair["timely_share"]
