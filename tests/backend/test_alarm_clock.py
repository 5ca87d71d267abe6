"""The driver's clock: what ends a sleep, and that no ring is lost."""

from __future__ import annotations

import signal
import threading

import pytest
from orbitflow.backend.clock import AlarmClock

LONG_S = 60.0  # nobody sleeps this long


class Turned:
    """A clock that is turned by hand."""

    def __init__(self, now_s: float) -> None:
        self.time_s = now_s
        self.slept_until: list[float] = []

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, due_s: float) -> None:
        self.slept_until.append(due_s)


def started() -> AlarmClock:
    alarm = AlarmClock()
    alarm.start()
    return alarm


def test_it_stands_at_zero_until_it_is_started() -> None:
    turned = Turned(70.0)
    alarm = AlarmClock(turned)
    turned.time_s = 80.0
    assert alarm.now_s() == 0.0
    alarm.start()
    turned.time_s = 81.5
    assert alarm.now_s() == 1.5
    alarm.sleep_until(4.0)
    assert turned.slept_until == [84.0]


def test_a_sleep_ends_when_it_is_due() -> None:
    alarm = started()
    alarm.sleep(0.002)
    assert alarm.now_s() >= 0.002
    alarm.sleep(0.0)
    alarm.sleep(-5.0)


def test_a_ring_while_nobody_sleeps_ends_the_next_sleep_and_no_other() -> None:
    alarm = started()
    alarm.ring()
    alarm.ring()
    alarm.sleep(LONG_S)
    assert alarm.now_s() < LONG_S
    due_s = alarm.now_s() + 0.002
    alarm.sleep(due_s)
    assert alarm.now_s() >= due_s


def test_another_thread_wakes_who_sleeps_without_end() -> None:
    alarm = started()
    thread = threading.Timer(0.002, alarm.ring)
    thread.start()
    alarm.sleep(None)
    thread.join()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that signal")
def test_a_signal_handler_wakes_who_sleeps() -> None:
    alarm = started()
    before = signal.signal(signal.SIGALRM, lambda *_: alarm.ring())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        alarm.sleep(LONG_S)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert alarm.now_s() < LONG_S
