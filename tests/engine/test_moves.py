"""Moves: what is asked of the driver when KV must change its place."""

from __future__ import annotations

from orbitflow.engine.moves import Relocations
from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT, HostLayers
from orbitflow.request import Phase, Request, RequestState
from orbitflow.step import Move, MoveKind

LIMITS = KvLimits(layers=4, page_tokens=16, gpu_pages=400)
ALL: HostLayers = (0, 1, 2, 3)


def running(host: HostLayers = RESIDENT, context: int = 50) -> RequestState:
    """By default three full pages and a tail behind the token being decoded."""
    one = RequestState(Request(5, 0.0, context - 1, 9), 0.0, 0.1, host, host)
    one.prefilled_tokens, one.generated_before = context - 1, 1
    one.start(0)
    return one


def paused(host: HostLayers = ALL) -> RequestState:
    one = running(host)
    one.stop(0, Phase.PAUSED)
    return one


def moves(*, write_through: bool = True) -> Relocations:
    return Relocations(LIMITS, write_through=write_through)


def test_parking_flushes_the_tails_of_what_is_stored() -> None:
    relocations, one = moves(), running((1, 3))
    relocations.pause(one, 0)
    assert relocations.take(decoding=False) == (Move(0, MoveKind.PAUSE, 5, ALL, 4, True),)
    assert one.host == one.target == ALL


def test_parking_without_write_through_moves_everything_resident() -> None:
    """Two resident layers of three full pages, and a tail page in each of four."""
    relocations = moves(write_through=False)
    relocations.pause(running((1, 3)), 0)
    (move,) = relocations.take(decoding=False)
    assert move.pages == 2 * 3 + 4


def test_a_page_that_is_just_full_is_no_tail() -> None:
    """48 tokens behind fill three pages: they are stored like any other, and nothing is flushed."""
    relocations, one = moves(), running((1, 3), context=49)
    relocations.pause(one, 0)
    one.stop(0, Phase.PAUSED)
    relocations.resume(one, 0)
    assert [move.pages for move in relocations.take(decoding=True)] == [0, 0]
    swapped = moves(write_through=False)
    swapped.pause(running((1, 3), context=49), 0)
    assert swapped.take(decoding=False)[0].pages == 2 * 3


def test_parking_leaves_what_is_to_stay() -> None:
    """Layers 1 and 3 are on the host; of the others 0 is to stay. Its tail is flushed as well."""
    relocations, one = moves(), running((1, 3))
    relocations.pause(one, 0, (1, 2, 3))
    assert relocations.take(decoding=False) == (Move(0, MoveKind.PAUSE, 5, (1, 2, 3), 4, True),)
    assert one.host == one.target == (1, 2, 3)


def test_without_write_through_nothing_stays() -> None:
    relocations, one = moves(write_through=False), running()
    relocations.pause(one, 0, (1,))
    assert one.host == one.target == ALL


def test_resuming_brings_the_tails_back() -> None:
    relocations = moves()
    relocations.resume(paused(), 0)
    assert relocations.take(decoding=True) == (Move(0, MoveKind.RESUME, 5, ALL, 4, True),)


def test_nothing_comes_back_of_a_prompt_that_never_began() -> None:
    relocations = moves()
    relocations.resume(RequestState(Request(0, 0.0, 9, 9), 0.0, 0.1, (), (), Phase.PAUSED), 0)
    assert relocations.pending == 0


def test_demotion_is_free_and_first_promotion_comes_along_with_streaming() -> None:
    relocations, one = moves(), running((0, 2))
    assert relocations.place(one, (2, 3), 0)
    assert relocations.take(decoding=True) == (
        Move(0, MoveKind.DEMOTE, 5, (3,), 0, True),
        Move(1, MoveKind.PROMOTE, 5, (0,), 0, False),
    )
    assert (one.host, one.target) == ((0, 2), (2, 3)), "residency changes when a move is done"


def test_promotions_wait_for_a_pass_that_decodes() -> None:
    relocations = moves()
    relocations.place(running((0, 2)), (3,), 0)
    assert [m.kind for m in relocations.take(decoding=False)] == [MoveKind.DEMOTE]
    assert relocations.pending == 2
    assert [m.kind for m in relocations.take(decoding=True)] == [MoveKind.PROMOTE]
    assert relocations.take(decoding=True) == ()


def test_the_same_place_is_no_move() -> None:
    relocations = moves()
    assert not relocations.place(running((1, 3)), (1, 3), 0)
    assert relocations.pending == 0


def test_a_change_of_mind_before_the_step_leaves_no_trace() -> None:
    relocations, one = moves(), running((1,))
    relocations.place(one, ALL, 0)
    relocations.place(one, (1,), 0)
    assert relocations.pending == 0
    assert one.target == (1,)


def test_loading_ahead_of_the_resumption_counts_its_pages() -> None:
    """Two layers of three full pages, in the background."""
    relocations, one = moves(), paused()
    relocations.place(one, (0, 1), 0)
    (move,) = relocations.take(decoding=False)
    assert move == Move(0, MoveKind.LOAD, 5, (2, 3), 6, False)


def test_what_is_loading_is_not_loaded_twice() -> None:
    relocations, one = moves(), paused()
    relocations.place(one, (0, 1), 0)
    relocations.take(decoding=False)
    relocations.place(one, (0,), 0)
    (move,) = relocations.take(decoding=False)
    assert move.layers == (1,)


def test_parking_forgets_what_was_only_wanted() -> None:
    relocations, one = moves(), running((0,))
    relocations.place(one, (1,), 0)
    relocations.pause(one, 0)
    assert [m.kind for m in relocations.take(decoding=True)] == [MoveKind.PAUSE]


def test_done_moves_are_struck_off_and_ids_are_unique() -> None:
    relocations, one = moves(), running((0, 2))
    relocations.place(one, (2, 3), 0)
    taken = relocations.take(decoding=True)
    relocations.resume(paused(), 0)
    assert relocations.pending == 3
    assert relocations.done([m.id for m in taken]) == list(taken)
    assert relocations.pending == 1
    assert {m.id for m in relocations.take(decoding=True)}.isdisjoint({m.id for m in taken})
