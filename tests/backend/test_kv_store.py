"""Pages are conserved and within the account, bytes are those of the plan, rings are checked."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from reference.kv_machine import LAYERS, PAGE_TOKENS, SHAPE, Bench
from reference.stepped_channel import LinkMode

from orbitflow.backend.attention.reference import Scratch
from orbitflow.backend.kv.pages import Use
from orbitflow.engine.policy import DataPlane
from orbitflow.errors import BackendError, PolicyError
from orbitflow.memory import KvAccount
from orbitflow.step import MoveKind

torch.set_num_threads(1)
ALL = tuple(range(LAYERS))
PAGE_BYTES = SHAPE.page_bytes


def full_pages(first_context: int, passes: int) -> int:
    """Pages that one host layer streams in so many passes (`CostModel.full_pages`, summed)."""
    return sum((first_context - 1 + j) // PAGE_TOKENS for j in range(passes))


@pytest.mark.parametrize("tokens", [PAGE_TOKENS - 1, PAGE_TOKENS, PAGE_TOKENS + 1, 2 * PAGE_TOKENS])
def test_streamed_bytes_are_those_of_the_plan(tokens: int) -> None:
    bench = Bench()
    bench.prefill(1, tokens, (0, 2))
    bench.step([1], passes=9)
    assert bench.store.traffic.streamed == 2 * full_pages(tokens + 1, 9) * PAGE_BYTES


def test_stored_bytes_are_each_full_page_once() -> None:
    bench = Bench()
    bench.prefill(1, 10, (1,))
    bench.step([1], passes=7)
    assert bench.store.traffic.sent == LAYERS * (17 // PAGE_TOKENS) * PAGE_BYTES
    bench.step([1], moves=[bench.move(MoveKind.DEMOTE, 1, (0,))])
    assert bench.store.traffic.sent == LAYERS * (18 // PAGE_TOKENS) * PAGE_BYTES


@pytest.mark.parametrize("write_through", [True, False])
def test_parking_moves_what_its_moves_say(write_through: bool) -> None:
    bench = Bench(write_through=write_through)
    bench.prefill(1, 10)
    sent = bench.store.traffic.sent
    pause = bench.move(MoveKind.PAUSE, 1, ALL)
    assert bench.step(moves=[pause]) == (pause.id,)
    assert bench.store.traffic.sent - sent == pause.pages * PAGE_BYTES
    resume = bench.move(MoveKind.RESUME, 1, ALL)
    bench.step(moves=[resume])
    assert bench.store.traffic.fetched == resume.pages * PAGE_BYTES


def test_a_load_moves_what_its_move_says_and_is_done_when_awaited() -> None:
    bench = Bench()
    bench.prefill(1, 10)
    bench.step(moves=[bench.move(MoveKind.PAUSE, 1, ALL)])
    load = bench.move(MoveKind.LOAD, 1, (0, 2))
    assert bench.step(moves=[load]) == ()
    bench.store.await_load()
    assert bench.settle() == (load.id,)
    assert bench.store.traffic.loaded == load.pages * PAGE_BYTES


def test_a_promotion_costs_no_more_than_the_pass_it_is_made_in() -> None:
    bench = Bench()
    bench.prefill(1, 10, ALL)
    move = bench.move(MoveKind.PROMOTE, 1, (0, 2))
    assert bench.step([1], moves=[move], ring=2) == (move.id,)
    assert bench.store.traffic.streamed == LAYERS * full_pages(11, 1) * PAGE_BYTES
    bench.step([1], passes=3)
    assert bench.plane.device.book.used_for(Use.RESIDENT) == 2 * (14 // PAGE_TOKENS)


def test_prefetching_runs_on_into_the_next_steps_of_the_same_batch() -> None:
    bench = Bench()
    bench.prefill(1, 9, ALL)
    for _ in range(3):
        bench.step([1], passes=2, ring=12, version=7)
    assert bench.store.traffic.dropped == 0
    bench.step([1], ring=12, version=8)
    assert bench.store.traffic.dropped > 0


def test_a_ring_smaller_than_a_group_is_refused_before_the_first_pass() -> None:
    bench = Bench()
    bench.prefill(1, 8, (1,))
    with pytest.raises(PolicyError, match=r"layer 1 come to 3 within 5 passes .* ring of 2 pages"):
        bench.begin([1], passes=5, ring=2)


def test_a_ring_of_just_one_group_is_enough() -> None:
    bench = Bench(LinkMode.EARLY)
    bench.prefill(1, 8, ALL)
    bench.step([1], passes=5, ring=3)
    bench.drain()


def test_a_ring_that_the_next_step_will_outgrow_is_no_reason_to_refuse_this_one() -> None:
    bench = Bench(LinkMode.EARLY)
    bench.prefill(1, 3, ALL)
    bench.step([1], ring=0, version=1)
    bench.step([1], ring=1, version=1)
    bench.drain()


def test_a_pool_as_small_as_the_account_is_enough() -> None:
    """Growth of a host layer needs the tail page back whose store is under way."""
    bench = Bench(device_pages=LAYERS + 2 * 3)
    bench.prefill(1, 8, ALL)
    bench.step([1], passes=5, ring=6)
    bench.drain()


def test_more_than_the_account_charges_is_refused() -> None:
    bench = Bench()
    bench.prefill(1, 9)
    with pytest.raises(BackendError, match="9 device pages are held"):
        bench.store.check(KvAccount(bench.account.limits))


def test_a_pool_that_is_too_small_says_so() -> None:
    bench = Bench(device_pages=5)
    with pytest.raises(BackendError, match="pages are wanted for tail and 0 of 5 are free"):
        bench.prefill(1, 9)


def test_a_dropped_request_is_prefilled_again() -> None:
    bench = Bench()
    bench.prefill(1, 9, (0,))
    bench.finish(1)
    bench.admit(1, 9)
    assert bench.store.tokens(1) == 0
    assert bench.plane.device.book.used_for(Use.RESIDENT) == 0


def test_where_the_cpu_attends_nothing_travels() -> None:
    from orbitflow.backend.kv.store import KvStore
    from orbitflow.machine.pipeline import ATTEND, Overlap

    bench = Bench(lagging=False)
    plane = DataPlane(Overlap.SERIAL, write_through=True, ring_groups=0, host_read=ATTEND)
    store = bench.store = KvStore(bench.plane, LAYERS, plane)
    k = torch.rand((10, 2, 2))
    store.admit(1, 20, ALL)
    for layer in ALL:
        store.extend(1, layer, k, -k)
    table = store.read_host(1, 0)
    assert table.tokens == 8
    host = torch.cat([bench.plane.host.page(page)[0] for page in table.pages])
    tail, _ = Scratch().join(store.segments(store.read(1, 0)))
    assert torch.equal(torch.cat([host, tail]), k)
