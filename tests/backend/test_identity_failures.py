"""What cannot work ends with an error and in no time: no plan and no dead worker leaves a run
hanging, and none lets it go on with wrong KV.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

from reference.served import Served, server
from reference.stepped_channel import LinkMode

from orbitflow.backend.link.channel import WorkerChannel
from orbitflow.errors import BackendError, OrbitFlowError, PolicyError
from orbitflow.policy.registry import make_policy

LIMIT_S = 20.0  # far more than any of these take, and far less than the events' own watchdog


def outcome_of(work: Callable[[], object]) -> OrbitFlowError | None:
    """Do something on a thread of its own; what it raised. Fail if it does not end."""
    raised: list[OrbitFlowError] = []

    def attempt() -> None:
        try:
            work()
        except OrbitFlowError as error:
            raised.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    assert not thread.is_alive(), "it hangs"
    return raised[0] if raised else None


@pytest.mark.parametrize("mode", [LinkMode.LATE, LinkMode.EARLY, LinkMode.MANUAL, LinkMode.PACED])
@pytest.mark.parametrize(("name", "chunk"), [("static-1", 0), ("static-1", 5), ("flexgen", 0)])
def test_a_group_larger_than_the_ring_is_refused(name: str, chunk: int, mode: LinkMode) -> None:
    """A ring of no groups holds none."""
    policy = make_policy(name)
    policy.data_plane = replace(policy.data_plane, ring_groups=0)
    machine = server(policy, 80, mode, chunk=chunk)
    error = outcome_of(lambda: Served(machine))
    assert isinstance(error, PolicyError)
    assert "exceed the ring of 0 pages: they could never be staged" in str(error)


class Dying:
    """Hears of each transfer of one direction, and fails at one of them."""

    def __init__(self, direction: str, at: int) -> None:
        self._direction = direction
        self._left = at

    def __call__(self, label: str, start_s: float, end_s: float) -> None:
        if label.startswith(self._direction):
            self._left -= 1
            if not self._left:
                raise OSError("the cable is out")


BOTH = [(name, way) for name in ("static-1", "preempt-swap") for way in ("H2D", "D2H")]


@pytest.mark.parametrize("at", [1, 10])
@pytest.mark.parametrize(("name", "direction"), [*BOTH, ("zero-inference", "D2H")])
def test_a_copy_worker_that_dies_ends_the_run(name: str, direction: str, at: int) -> None:
    machine = server(name, 48, LinkMode.PACED, sink=Dying(direction, at))
    error = outcome_of(lambda: Served(machine))
    assert isinstance(error, BackendError)
    assert "the cable is out" in str(error)
    for channel in (machine.plane.up, machine.plane.down):
        assert isinstance(channel, WorkerChannel)
        assert not channel._thread.is_alive(), "closing left a worker behind"


def test_closing_after_a_death_says_so_once_more_and_returns() -> None:
    machine = server("static-1", 48, LinkMode.PACED, sink=Dying("H2D", 3))
    assert isinstance(outcome_of(lambda: Served(machine)), BackendError)
    for _ in range(2):
        again = outcome_of(machine.executor.close)
        assert again is None or "the cable is out" in str(again)
