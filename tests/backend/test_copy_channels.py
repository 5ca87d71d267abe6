"""The paced link keeps its rate on any clock; a channel that fails, fails loudly."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from reference.stepped_channel import LinkMode, SteppedChannel

from orbitflow.backend.clock import WallClock
from orbitflow.backend.kv.pool import HostPool, PageShape
from orbitflow.backend.link.channel import CHUNK_BYTES, Copy, LinkUse, PacedLink, WorkerChannel
from orbitflow.backend.link.events import DONE, Signal, Waits, pending
from orbitflow.errors import BackendError, UserError

torch.set_num_threads(1)


class HandClock:
    """A clock that only sleeping moves; `late_s` is how much each sleep oversleeps."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now = 100.0
        self.late_s = late_s

    def now_s(self) -> float:
        return self.now

    def sleep_until(self, due_s: float) -> None:
        if due_s > self.now:
            self.now = due_s + self.late_s


def copy_of(size_bytes: int) -> Copy:
    return Copy(torch.arange(size_bytes // 4).float(), torch.zeros(size_bytes // 4))


def test_a_transfer_takes_fixed_time_and_bytes_over_rate() -> None:
    clock = HandClock()
    copy = copy_of(3 * CHUNK_BYTES + 4000)
    start_s, end_s = PacedLink(clock, 1e6, fixed_s=0.5).carry([copy], 100.0)
    assert start_s == 100.0
    assert end_s == pytest.approx(100.5 + copy.source.nbytes / 1e6)
    assert torch.equal(copy.source, copy.target)


def test_waking_up_late_is_caught_up_with() -> None:
    clock = HandClock(late_s=0.01)
    link = PacedLink(clock, 1e6)
    copies = [copy_of(CHUNK_BYTES) for _ in range(20)]
    for copy in copies:
        _, end_s = link.carry([copy], 100.0)  # all were there from the start
    assert end_s == pytest.approx(100.0 + 20 * CHUNK_BYTES / 1e6)
    assert link.latest_s <= 0.011


def test_an_idle_link_starts_when_it_is_asked() -> None:
    link = PacedLink(HandClock(), 1e6)
    assert link.carry([copy_of(4000)], 250.0)[0] == 250.0


def worker() -> WorkerChannel:
    clock = WallClock()
    return WorkerChannel("H2D", PacedLink(clock, None), clock)


def takes(channel: WorkerChannel) -> bool:
    """Whether one more copy is taken."""
    try:
        channel.submit([copy_of(400)])
    except BackendError:
        return False
    return True


def test_transfers_are_done_in_turn_and_counted() -> None:
    channel = worker()
    first, second = copy_of(4000), copy_of(8000)
    gate = Signal("gate")
    channel.submit([first], [gate])
    last = channel.submit([second])
    assert not last.is_done
    assert not channel.is_idle
    gate.set()
    channel.drain()
    assert last.is_done
    assert torch.equal(second.source, second.target)
    use = channel.take_use()
    assert (use.transfers, use.copied_bytes) == (2, 12000)
    assert channel.take_use() == LinkUse()
    channel.close()


def test_a_worker_that_dies_fails_everything_after_it() -> None:
    channel = worker()
    gate = Signal("gate")  # else the worker may be dead before the second one is asked for
    broken = channel.submit([Copy(torch.zeros(4), torch.zeros(5)[:3])], [gate], label="layer 3")
    later = channel.submit([copy_of(400)])
    gate.set()
    for event in (broken, later):
        with pytest.raises(BackendError, match=r"H2D.* failed: The size of tensor"):
            event.wait()
        assert not event.is_done
    with pytest.raises(BackendError, match="failed"):
        channel.drain()
    with pytest.raises(BackendError, match="the H2D worker died"):
        channel.submit([copy_of(400)])
    channel.close()


def test_a_failed_wait_fails_the_copy_behind_it() -> None:
    channel = worker()
    gate = Signal("copy D2H layer 0")
    event = channel.submit([copy_of(400)], [gate])
    gate.set(RuntimeError("the disk is gone"))
    with pytest.raises(BackendError, match="the disk is gone"):
        event.wait()
    channel.close()


def test_closing_ends_the_thread_and_what_is_queued() -> None:
    channel = worker()
    gate = Signal("gate")
    channel.submit([copy_of(400)], [gate])
    queued = channel.submit([copy_of(400)])
    closing = threading.Thread(target=channel.close)
    closing.start()
    while takes(channel):  # the copy under way waits for the gate until then
        pass
    gate.set()
    closing.join()
    channel.close()
    with pytest.raises(BackendError, match="closed before its turn"):
        queued.wait()
    with pytest.raises(BackendError):
        channel.submit([copy_of(400)])


def test_a_wait_that_takes_too_long_is_an_error() -> None:
    with pytest.raises(BackendError, match=r"copy H2D layer 1 did not end within 0\.01 s"):
        Signal("copy H2D layer 1", watchdog_s=0.01).wait()


def test_pending_events_are_counted_once() -> None:
    open_one = Signal("x")
    assert pending([DONE, open_one, DONE, open_one]) == (open_one,)


@pytest.mark.parametrize(
    ("mode", "moves_at"), [(LinkMode.EARLY, "submit"), (LinkMode.LATE, "wait")]
)
def test_when_a_copy_takes_effect(mode: LinkMode, moves_at: str) -> None:
    channel = SteppedChannel("H2D", mode)
    copy = copy_of(400)
    event = channel.submit([copy])
    assert torch.equal(copy.source, copy.target) is (moves_at == "submit")
    event.wait()
    assert torch.equal(copy.source, copy.target)


def test_by_hand_one_copy_at_a_time_when_its_waits_are_over() -> None:
    channel = SteppedChannel("H2D", LinkMode.MANUAL)
    gate = Signal("gate")
    first, second = channel.submit([copy_of(400)], [gate]), channel.submit([copy_of(400)])
    assert not channel.move_next()
    gate.set()
    assert channel.move_next()
    assert (first.is_done, second.is_done) == (True, False)


def test_a_host_pool_that_does_not_fit_is_refused_before_it_is_made() -> None:
    shape = PageShape(64, 8, 128, torch.bfloat16)
    with pytest.raises(UserError, match=r"256\.0 KiB.*exceeds the 1000 B.*--host-memory"):
        HostPool(shape, 1, Waits(), available_bytes=1000)
    with pytest.raises(UserError, match="lower --host-memory"):
        HostPool(shape, 10**12, Waits())
