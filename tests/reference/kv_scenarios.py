"""Short stories of KV that moves, one for each way in which it does. Every read is compared."""

from __future__ import annotations

from collections.abc import Callable

from orbitflow.placement import HostLayers
from orbitflow.step import MoveKind

from .kv_machine import LAYERS, Bench

ALL: HostLayers = tuple(range(LAYERS))
Scenario = Callable[[Bench], object]


def stream(bench: Bench) -> None:
    """Everything on the host, in a ring of two groups, over several page boundaries."""
    bench.prefill(1, 9, ALL)
    bench.prefill(2, 16, (1,))
    bench.catch_up()
    bench.step([1, 2], passes=9)
    bench.step([1, 2], passes=2)


def prompt_in_pieces(bench: Bench) -> None:
    """Pieces of a prompt read what earlier ones left on the host."""
    bench.admit(1, 60, (0, 2))
    for tokens in (7, 9, 4, 1, 12):
        bench.step(chunks=[bench.chunk(1, tokens)])
    bench.step([1], passes=3)


def promote(bench: Bench) -> None:
    """A layer becomes resident in the pass in which one of its pages fills."""
    bench.prefill(1, 11, ALL)
    bench.step([1], moves=[bench.move(MoveKind.PROMOTE, 1, (0, 2))])
    bench.step([1], passes=6)


def demote(bench: Bench) -> None:
    """Device pages are freed and taken again while their stores are still under way."""
    bench.prefill(1, 14)
    bench.step([1], passes=3)
    bench.step([1], moves=[bench.move(MoveKind.DEMOTE, 1, (0, 1))])
    bench.prefill(2, 16)
    bench.step([1, 2], passes=3)


def pause(bench: Bench) -> None:
    """Parked in the middle of a page, twice, with others in between."""
    bench.prefill(1, 10, (1,))
    bench.prefill(2, 12)
    for _ in range(2):
        bench.step([1, 2], passes=3)
        bench.step([2], moves=[bench.move(MoveKind.PAUSE, 1, ALL)], passes=2)
        bench.step([1, 2], moves=[bench.move(MoveKind.RESUME, 1, ALL)], passes=2)


def load(bench: Bench) -> None:
    """Loaded while parked, beside another's streaming, then resumed."""
    bench.prefill(1, 17)
    bench.prefill(2, 8, ALL)
    bench.step([2], moves=[bench.move(MoveKind.PAUSE, 1, ALL)])
    bench.catch_up()
    bench.step([2], moves=[bench.move(MoveKind.LOAD, 1, (0, 2))], passes=3)
    bench.store.await_load()
    bench.step([1, 2], moves=[bench.move(MoveKind.RESUME, 1, ALL)], passes=3)


def load_cut_short(bench: Bench) -> None:
    """Resumed while it is still being loaded."""
    bench.prefill(1, 17)
    bench.step(moves=[bench.move(MoveKind.PAUSE, 1, ALL)])
    moves = [bench.move(MoveKind.LOAD, 1, (1,)), bench.move(MoveKind.RESUME, 1, ALL)]
    bench.step(moves=moves[:1])
    bench.step([1], moves=moves[1:], passes=3)


def finish(bench: Bench) -> None:
    """Pages change hands while copies still use them."""
    bench.prefill(1, 15, (0,))
    bench.prefill(2, 13, (1, 2))
    bench.step([1, 2], passes=2)
    bench.finish(1)
    bench.prefill(3, 22, (0, 1))
    bench.step([2, 3], passes=4)


def swap(bench: Bench) -> None:
    """Whole requests go out and in, without write-through."""
    bench.prefill(1, 10)
    bench.prefill(2, 13)
    bench.step([1, 2], passes=3)
    bench.step([2], moves=[bench.move(MoveKind.PAUSE, 1, ALL)], passes=2)
    bench.catch_up()
    bench.step([1, 2], moves=[bench.move(MoveKind.RESUME, 1, ALL)])
    bench.step([1], moves=[bench.move(MoveKind.PAUSE, 2, ALL)], passes=2)
    bench.step([1, 2], moves=[bench.move(MoveKind.RESUME, 2, ALL)], passes=2)


SCENARIOS: dict[str, Scenario] = {
    s.__name__: s
    for s in (
        *(stream, prompt_in_pieces, promote, demote, pause, load, load_cut_short),
        *(finish, swap),
    )
}


def run(name: str, bench: Bench) -> None:
    """Play a scenario to the end, and have everything read."""
    SCENARIOS[name](bench)
    for request_id in list(bench.requests):
        bench.finish(request_id)
    bench.drain()
