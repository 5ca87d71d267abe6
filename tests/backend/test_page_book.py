"""Pages have one owner, come in runs where they can, and are free when the last copy is done."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.backend.clock import WallClock
from orbitflow.backend.kv.pages import Owner, PageBook, Use
from orbitflow.backend.kv.pool import HostPool, PagePool, PageShape, page_copies
from orbitflow.backend.kv.staging import StagingRing
from orbitflow.backend.link.compute import EagerCompute
from orbitflow.backend.link.events import DONE, Signal, Wait, Waits
from orbitflow.errors import BackendError

torch.set_num_threads(1)
MINE, OTHERS = Owner(Use.RESIDENT, 1, 0), Owner(Use.RESIDENT, 2, 0)
SHAPE = PageShape(2, 1, 2)


def book(total: int = 8, waits: Waits | None = None) -> tuple[PageBook, list[int]]:
    freed: list[int] = []
    return PageBook("device", total, waits or Waits(), Wait.FREED, freed.extend), freed


def test_pages_come_in_the_first_run_that_is_long_enough() -> None:
    pages, _ = book()
    first = pages.take(3, MINE)
    pages.take(1, MINE)
    pages.give_back(first, MINE)
    assert pages.take(4, OTHERS) == [4, 5, 6, 7]
    assert pages.take(2, OTHERS) == [0, 1]


def test_without_a_run_any_will_do() -> None:
    pages, _ = book(4)
    pages.take(4, MINE)
    pages.give_back([0], MINE)
    pages.give_back([2], MINE)
    assert pages.take(2, OTHERS) == [0, 2]


def test_from_the_end() -> None:
    pages, _ = book()
    assert pages.take(2, MINE, from_end=True) == [6, 7]


def test_nobody_gives_back_what_is_anothers() -> None:
    pages, _ = book()
    taken = pages.take(1, MINE)
    with pytest.raises(AssertionError, match="belongs to"):
        pages.give_back(taken, OTHERS)
    with pytest.raises(AssertionError, match="belongs to"):
        pages.hand_over(taken[0], OTHERS, MINE)


def test_a_deferred_page_is_free_when_its_copy_is_done() -> None:
    pages, freed = book(2)
    taken = pages.take(2, MINE)
    copy = Signal("copy")
    pages.give_back(taken, MINE, [DONE, copy])
    pages.settle()
    assert (pages.free, pages.held, pages.deferred, freed) == (0, 0, 2, [])
    pages.check()
    copy.set()
    pages.settle()
    assert (pages.free, pages.deferred, freed) == (2, 0, taken)


def test_who_needs_a_page_waits_for_a_deferred_one() -> None:
    class Soon:
        is_done = False

        def wait(self) -> None:
            self.is_done = True

    pages, _ = book(1)
    pages.give_back(pages.take(1, MINE), MINE, [Soon()])
    assert pages.take(1, OTHERS) == [0]


def test_too_few_pages() -> None:
    pages, _ = book(2)
    pages.take(1, MINE)
    with pytest.raises(BackendError, match="2 device pages are wanted for resident and 1 of 2"):
        pages.take(2, OTHERS)


@given(st.data())
def test_pages_are_conserved(data: st.DataObject) -> None:
    pages, _ = book(12)
    held: list[list[int]] = []
    copies: list[Signal] = []
    for _ in range(data.draw(st.integers(1, 25))):
        act = data.draw(st.sampled_from(["take", "free", "defer", "copy"]))
        if act == "take" and pages.free:
            held.append(pages.take(data.draw(st.integers(1, pages.free)), MINE))
        elif act == "free" and held:
            pages.give_back(held.pop(), MINE)
        elif act == "defer" and held:
            copies.append(Signal("copy"))
            pages.give_back(held.pop(), MINE, [copies[-1]])
        elif act == "copy" and copies:
            copies.pop(data.draw(st.integers(0, len(copies) - 1))).set()
        pages.settle()
        pages.check()
        assert pages.free + pages.held + pages.deferred == 12
        assert pages.held == sum(map(len, held))


def pool(pages: int = 8) -> PagePool:
    return PagePool(SHAPE, pages, EagerCompute(WallClock()), Waits(), poison=True)


def test_what_is_free_is_poisoned_on_both_sides() -> None:
    for pages in (pool(), HostPool(SHAPE, 8, Waits(), poison=True)):
        assert pages.storage.isnan().all()
        (page,) = pages.book.take(1, MINE)
        pages.page(page).fill_(1.0)
        pages.book.give_back([page], MINE)
        assert pages.storage.isnan().all()


def test_the_ring_is_first_in_first_out() -> None:
    memory = pool()
    ring = StagingRing(memory)
    ring.resize(5)
    assert memory.book.used_for(Use.RING) == 5
    first, second = ring.take(3), ring.take(2)
    assert ring.used == 5
    assert not ring.has_room(1)
    with pytest.raises(AssertionError, match="in the order they were taken"):
        ring.release(second, DONE)
    ring = StagingRing(pool())
    ring.resize(5)
    first = ring.take(3)
    used = Signal("attention")
    ring.release(first, used)
    assert ring.take(5).pages[-3:] == first.pages


def test_a_released_page_is_refilled_only_after_its_use() -> None:
    memory = pool()
    ring = StagingRing(memory)
    ring.resize(3)
    used = Signal("attention")
    segment = ring.take(2)
    ring.release(segment, used)
    assert memory.ready(segment.pages) == [used, used]
    ring.resize(0)
    assert (memory.book.used_for(Use.RING), memory.book.deferred) == (0, 3)
    used.set()
    memory.book.settle()
    assert memory.book.free == 8


def test_a_ring_in_use_keeps_its_size() -> None:
    ring = StagingRing(pool())
    ring.resize(3)
    ring.take(1)
    with pytest.raises(AssertionError, match="in use"):
        ring.resize(4)


def test_neighbours_are_copied_in_one_run() -> None:
    source, target = torch.rand((6, 2)), torch.zeros((6, 2))
    copies = list(page_copies(source, target, [(0, 2), (1, 3), (2, 4), (4, 5), (5, 0)]))
    assert [len(copy.source) for copy in copies] == [3, 1, 1]
    for here, there in copies:
        there.copy_(here)
    assert torch.equal(target[2:5], source[:3])
    assert torch.equal(target[[5, 0]], source[[4, 5]])
    assert list(page_copies(source, target, [])) == []
