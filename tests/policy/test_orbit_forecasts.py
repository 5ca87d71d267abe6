"""Forecasts of all members at once are those of each alone, whoever comes, goes or gets tokens."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.forecasts import Account, forecast, miss_chance
from strategies import small_machine

from orbitflow.config import Tuning
from orbitflow.engine.policy import View
from orbitflow.engine.queues import Queues
from orbitflow.memory import KvAccount
from orbitflow.placement import RESIDENT
from orbitflow.policy.orbit.forecast import Forecaster, Forecasts
from orbitflow.policy.orbit.load import LoadModel
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Request, RequestState
from orbitflow.step import Events, Finished, StepOutcome, TokenSegment

TAU_S, RING = 0.3, 2
MACHINE = small_machine(120, link_bytes_per_s=4e5)  # the longest contexts are streamed
NO_TOKENS = TokenSegment((), np.zeros(0))


class _Served:
    """A forecaster and the reference, told the same."""

    def __init__(self) -> None:
        load = LoadModel(MACHINE.limits, ring_groups=RING, turn_passes=8, rotates=True)
        self.deposit = TokenDeposit()
        self.forecaster = Forecaster(self.deposit, load, Tuning())
        account = KvAccount(MACHINE.limits)
        self.view = View(Queues(None, 0), account, lambda _: np.zeros(0), TAU_S, lambda _: 4.0)
        self.accounts: dict[int, Account] = {}
        self.finished: list[int] = []

    def admit(self, request: Request) -> None:
        tbt_limit_s = self.view.tbt_limit_of(request)
        self.accounts[request.id] = Account(request, tbt_limit_s, request.arrival_s + 4.0)
        self.forecaster.admitted(self.view, request)

    def first_token(self, number: int) -> None:
        self._observe(Events((), (number,), NO_TOKENS, (), (), ()))
        self.accounts[number].add([self.view.now_s])

    def finish(self, number: int) -> None:
        request = self.accounts.pop(number).request
        gone = Finished(request, 0.0, np.zeros(0), 0.0)
        self._observe(Events((), (), NO_TOKENS, (), (), (gone,)))
        self.finished.append(request.output_tokens)

    def decode(self, numbers: tuple[int, ...], gaps_s: list[float]) -> None:
        times_s = self.view.now_s + np.cumsum(np.array(gaps_s))
        self.deposit.add(numbers, times_s)
        for number in numbers:
            self.accounts[number].add(times_s.tolist())
        self.view.now_s = float(times_s[-1])

    def _observe(self, events: Events) -> None:
        now_s = self.view.now_s
        self.forecaster.observe(StepOutcome(0.0, np.zeros(0), 0.0, 0.0, 0, 0, (), now_s), events)


@st.composite
def _histories(draw: st.DrawFn) -> _Served:
    served, number = _Served(), 0
    for _ in range(draw(st.integers(1, 30))):
        reads = [n for n, one in served.accounts.items() if one.times_s]
        fresh = [n for n, one in served.accounts.items() if not one.times_s]
        kinds = ["admit", *["first"] * bool(fresh), *["decode", "finish"] * bool(reads)]
        match draw(st.sampled_from(kinds)):
            case "admit":
                sizes = draw(st.tuples(st.integers(1, 200), st.integers(1, 40)))
                limit_s = draw(st.sampled_from((None, 0.05, 1.0)))
                served.admit(Request(number, served.view.now_s, *sizes, limit_s, None))
                number += 1
            case "first":
                served.view.now_s += draw(st.floats(0.01, 6.0))
                served.first_token(draw(st.sampled_from(fresh)))
            case "decode":
                some = draw(st.lists(st.sampled_from(reads), unique=True, min_size=1))
                gaps_s = draw(st.lists(st.floats(0.01, 1.5), min_size=1, max_size=5))
                served.decode(tuple(draw(st.sampled_from((some, reads)))), gaps_s)
            case "finish":
                served.finish(draw(st.sampled_from(reads)))
    return served


def _rows(found: Forecasts) -> list[tuple[float, ...]]:
    return list(zip(*(column.tolist() for column in found), strict=True))


@given(_histories(), st.floats(0.0, 20.0), st.sampled_from((0.05, 0.5, 1.0)))
def test_of_all_at_once_as_of_each_alone(served: _Served, delay_s: float, spare: float) -> None:
    accounts, view, cost = served.accounts, served.view, MACHINE.cost
    ahead = {
        number: forecast(one, served.finished, view.now_s, cost, MACHINE.limits, RING)
        for number, one in accounts.items()
    }
    expected = [
        (
            *(one.request.output_tokens, one.generated, ahead[number].left, ahead[number].middle),
            *(one.tbt_limit_s, inf if ahead[number].due_s is None else ahead[number].due_s),
            *ahead[number][3:],
        )
        for number, one in accounts.items()
    ]
    members = [
        RequestState(one.request, 0.0, one.tbt_limit_s, RESIDENT, RESIDENT)
        for one in accounts.values()
    ]
    in_order = served.forecaster.forecasts(view, cost, members)
    assert _rows(in_order) == expected
    assert sorted(_rows(served.forecaster.of_all(view.now_s, cost))) == sorted(expected)
    chances = served.forecaster.miss_chances(in_order, delay_s, spare).tolist()
    assert chances == [
        miss_chance(one, ahead[number], served.finished, delay_s, spare)
        for number, one in accounts.items()
    ]
    least_s = min((one.tbt_limit_s for one in accounts.values()), default=None)
    assert served.forecaster.least_tbt_limit_s == least_s
    for number, one in accounts.items():
        assert served.deposit.due_s(number) == one.due_s


def test_rows_are_made_as_they_are_needed() -> None:
    served = _Served()
    for number in range(200):
        served.admit(Request(number, 0.0, number + 1, 5))
        served.first_token(number)
    for number in range(0, 200, 3):
        served.finish(number)
    contexts = sorted(served.forecaster.of_all(0.0, MACHINE.cost).middle.tolist())
    assert contexts == [number + 1 + 1 + 4 // 2 for number in range(200) if number % 3]


@pytest.mark.parametrize("context", [1, 80, 119, 120, 121, 500])
def test_one_alone_takes_the_same_however_it_is_asked(context: int) -> None:
    load = LoadModel(MACHINE.limits, ring_groups=RING, turn_passes=8, rotates=True)
    each = load.each_alone_s(MACHINE.cost, np.array([1.0, context]))
    assert each[1] == load.alone_s(MACHINE.cost, context)
