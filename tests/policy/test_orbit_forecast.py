"""When a request is to have its next token: by its reader, or sooner by its TPOT limit."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from strategies import small_machine

from orbitflow.config import LengthsKnown, Tuning
from orbitflow.engine.policy import View
from orbitflow.engine.queues import Queues
from orbitflow.memory import KvAccount
from orbitflow.placement import RESIDENT
from orbitflow.policy.orbit.forecast import Forecaster, Forecasts
from orbitflow.policy.orbit.load import LoadModel
from orbitflow.policy.orbit.options import DEFAULT
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Request
from orbitflow.step import Events, StepOutcome, TokenSegment

TAU_S, FIRST_S, LEFT = 0.5, 2.0, 40
MACHINE = small_machine(2_000)
ALONE_S = MACHINE.cost.decode_pass_s(1, 20 + 2 + LEFT // 2)


def _served(ttft_s: float, stalled_s: float) -> float:
    """Its first token comes at FIRST_S, its second `stalled_s` after it is wanted. When is the
    third due?
    """
    deposit, limits = TokenDeposit(), MACHINE.limits
    load = LoadModel(limits, ring_groups=2, turn_passes=8, rotates=True)
    forecaster = Forecaster(deposit, load, Tuning(lengths=LengthsKnown.ORACLE))
    roster = Queues(None, 0)
    view = View(roster, KvAccount(limits), lambda _: np.zeros(0), TAU_S, lambda _: ttft_s)
    request = Request(1, 0.0, 20, 2 + LEFT, None, None)
    roster.submit(request)
    state = roster.admit(1, RESIDENT, TAU_S, 0.0)
    forecaster.admitted(view, request)
    assert forecaster.forecasts(view, MACHINE.cost, [state]).due_s.tolist() == [inf]
    roster.first_token(state, 0, FIRST_S)
    outcome = StepOutcome(0.0, np.array([FIRST_S]), 0.0, 0.0, 0, 0, (), FIRST_S)
    forecaster.observe(outcome, Events((), (1,), TokenSegment((), np.zeros(0)), (), (), ()))
    deposit.add([1], np.array([FIRST_S + TAU_S + stalled_s]))
    view.passes = 1
    return float(forecaster.forecasts(view, MACHINE.cost, [state]).due_s[0])


def test_who_never_made_its_reader_wait_is_due_when_it_wants_more() -> None:
    assert _served(ttft_s=9.0, stalled_s=-0.3) == pytest.approx(FIRST_S + 2 * TAU_S)


def test_who_has_waited_is_due_so_much_earlier_while_that_can_be_caught_up() -> None:
    most_s = DEFAULT.caught_up * LEFT * (TAU_S - ALONE_S)
    assert most_s > 1, "or nothing is tested"
    for stalled_s in (0.4, most_s - 0.01):
        assert _served(9.0, stalled_s) == pytest.approx(FIRST_S + 2 * TAU_S)
    beyond_s = most_s + 0.01
    assert _served(9.0, beyond_s) == pytest.approx(FIRST_S + 2 * TAU_S + beyond_s)


def test_who_missed_its_ttft_has_no_limit_to_catch_up_to() -> None:
    assert _served(ttft_s=1.0, stalled_s=0.4) == pytest.approx(FIRST_S + 2 * TAU_S + 0.4)


@pytest.mark.parametrize(
    ("is_late", "is_hopeless", "harm"), [(False, False, 1), (True, False, 0), (False, True, 0)]
)
def test_whose_limits_are_lost_already_is_not_harmed(
    is_late: bool, is_hopeless: bool, harm: float
) -> None:
    load = LoadModel(MACHINE.limits, ring_groups=2, turn_passes=8, rotates=True)
    forecaster = Forecaster(TokenDeposit(), load, Tuning(lengths=LengthsKnown.ORACLE))
    known = (60.0, 10.0, 50.0, 55.0, TAU_S, 0.0, 0.0, is_late, is_hopeless)
    reader = Forecasts(*(np.array([figure]) for figure in known))
    assert forecaster.miss_chances(reader, 100 * TAU_S, 0.5).tolist() == [harm]
