"""The order of admission: deadlines, who is late, and that nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orbitflow.engine.policy import View
from orbitflow.engine.queues import Queues
from orbitflow.memory import KvAccount, KvLimits
from orbitflow.placement import RESIDENT
from orbitflow.policy.orbit.deadlines import Deadlines, FairShare
from orbitflow.policy.orbit.options import DEFAULT
from orbitflow.request import Request


class Queue:
    """A waiting room and its order. A prompt of n tokens takes n seconds."""

    def __init__(self, every: int = DEFAULT.every) -> None:
        self.roster = Queues(None, 0)
        account = KvAccount(KvLimits(4, 16, 1000))
        self.view = View(self.roster, account, lambda _: None, 0.1, self._ttft_s)  # type: ignore[arg-type, return-value]
        self.share = FairShare()
        self.deadlines = Deadlines(self.share, replace(DEFAULT, every=every))

    @staticmethod
    def _ttft_s(request: Request) -> float:
        return request.slo_ttft_s or 0.0

    def wait(self, number: int, prompt: int, ttft_s: float) -> None:
        self.roster.submit(Request(number, self.view.now_s, prompt, 5, None, ttft_s))

    def tries(self) -> list[tuple[int, bool]]:
        found = self.deadlines.candidates(self.view, float)
        return [(c.request.id, c.starts_s is not None) for c in found]

    def admit(self, number: int) -> None:
        request = self.roster.waiting[number]
        oldest = next(iter(self.roster.waiting)) == number
        self.roster.admit(number, RESIDENT, 0.1, 0.0)
        self.deadlines.admitted(request, is_oldest=oldest)


def test_by_deadline_and_late_only_when_nobody_is_in_time() -> None:
    queue = Queue()
    queue.wait(0, 5, 20.0)  # must start by 15
    queue.wait(1, 1, 5.0)  # by 4
    queue.wait(2, 3, 12.0)  # by 9, and 1 too late if it goes first
    assert queue.tries() == [(2, True), (1, True), (0, True)]
    queue.view.now_s = 2.0
    assert queue.tries() == [(1, True), (2, True), (0, True)]
    queue.view.now_s = 9.5
    assert queue.tries() == [(0, True)]
    queue.view.now_s = 16.0
    assert queue.tries() == [(0, False)], "first come, first served"
    queue.wait(3, 2, 4.0)
    assert queue.tries() == [(3, True)]
    queue.admit(3)
    queue.admit(0)
    assert queue.tries() == [(1, False)]


def test_the_longest_goes_first_that_harms_nobody_while_the_server_keeps_up() -> None:
    queue = Queue()
    for number, (prompt, ttft_s) in enumerate([(1, 20.0), (6, 40.0), (4, 30.0), (2, 9.0)]):
        queue.wait(number, prompt, ttft_s)  # 3 must start by 7
    assert queue.deadlines.slack_s(0.0) == float("inf"), "nobody has been looked at"
    assert [number for number, _ in queue.tries()] == [1, 2, 3, 0]
    assert queue.deadlines.slack_s(0.0) == 7.0
    assert queue.deadlines.slack_s(9.0) == -2.0
    queue.view.now_s = 2.0
    assert [number for number, _ in queue.tries()] == [2, 3, 0, 1], "3 cannot wait for 6 seconds"
    queue.view.now_s = 8.0
    assert [number for number, _ in queue.tries()] == [0, 2, 1], "3 is late: by deadline"
    assert not queue.deadlines.keeps_up


def test_few_are_tried() -> None:
    queue = Queue()
    for number in range(3 * DEFAULT.most_tried):
        queue.wait(number, 1, 100.0)
    assert queue.tries() == [(number, True) for number in range(DEFAULT.most_tried)]


def test_what_the_turn_of_the_longest_waiting_has_cost() -> None:
    queue = Queue(every=2)
    queue.wait(0, 50, 1.0)  # late at once
    queue.wait(1, 1, 3.0)
    assert queue.tries() == [(1, True)]
    queue.wait(2, 1, 2.0)
    queue.view.now_s = 1.5
    assert queue.tries() == [(1, True)], "2 is late by now"
    assert queue.deadlines.missed == 0, "that was not for somebody's turn"
    queue.admit(1)
    for number in (3, 4, 5):
        queue.wait(number, 1, float(number))
    assert queue.tries() == [(0, False)]
    assert queue.deadlines.missed == 0
    queue.view.now_s += 3.5
    assert queue.tries() == [(0, False)]
    assert queue.deadlines.missed == 2, "3 and 4"
    queue.admit(0)
    assert queue.deadlines.missed == 0
    assert queue.tries() == [(5, True)]


def test_nobody_at_all() -> None:
    assert Queue().tries() == []


@given(st.data())
def test_who_has_j_before_it_is_let_in_after_j_plus_one_times_every(data: st.DataObject) -> None:
    every = data.draw(st.sampled_from((1, 3, 16)), label="every")
    queue = Queue(every)
    number = 0
    let_in: list[int] = []
    came: dict[int, tuple[int, int]] = {}  # admissions so far and older ones waiting, on arrival
    for _ in range(data.draw(st.integers(1, 60), label="rounds")):
        for _ in range(data.draw(st.integers(0, 3), label="arrivals")):
            came[number] = (len(let_in), len(queue.roster.waiting))
            ttft_s = data.draw(st.sampled_from((0.5, 3.0, 50.0)), label="limit")
            queue.wait(number, data.draw(st.sampled_from((1, 4)), label="prompt"), ttft_s)
            number += 1
        queue.view.now_s += data.draw(st.sampled_from((0.1, 1.0, 5.0)), label="seconds")
        tries = queue.tries()
        assert bool(tries) == bool(queue.roster.waiting)
        if tries:  # any of them may be the first that fits
            chosen = data.draw(st.sampled_from(tries), label="fits")[0]
            queue.admit(chosen)
            let_in.append(chosen)
    for request, (before, older) in came.items():
        waited = (let_in.index(request) if request in let_in else len(let_in)) - before
        assert waited <= (older + 1) * every
