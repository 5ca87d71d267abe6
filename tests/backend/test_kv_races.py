"""Every story of moving KV is right in every link mode, and wrong as soon as one wait is left out.

The second half is what makes the first worth anything: a wait whose absence no test notices is not
tested. Race numbers are those of `waits`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from orbitflow.backend.kv.layers import BatchGroups, GroupPart
from reference.kv_machine import Bench, Corruption
from reference.kv_scenarios import SCENARIOS, run
from reference.stepped_channel import LinkMode

from orbitflow.backend.kv.pages import Use
from orbitflow.backend.link.events import Wait
from orbitflow.errors import BackendError
from orbitflow.machine.pipeline import Overlap

torch.set_num_threads(1)
LATE, EARLY = LinkMode.LATE, LinkMode.EARLY


def bench(name: str, mode: LinkMode, *, lagging: bool = True, off: Sequence[Wait] = ()) -> Bench:
    return Bench(mode, lagging=lagging, off=off, write_through=name != "swap")


@pytest.mark.parametrize("lagging", [True, False], ids=["lagging", "eager"])
@pytest.mark.parametrize("mode", [LATE, EARLY])
@pytest.mark.parametrize("name", SCENARIOS)
def test_with_every_wait_all_kv_is_read_as_written(
    name: str, mode: LinkMode, lagging: bool
) -> None:
    machine = bench(name, mode, lagging=lagging)
    run(name, machine)
    assert machine.compared >= 9
    books = (machine.plane.device.book, machine.plane.host.book)
    assert [book.deferred for book in books] == [0, 0]
    assert books[0].held == books[0].used_for(Use.RING)
    assert books[1].held == 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_on_a_link_with_a_thread_of_its_own(name: str) -> None:
    machine = bench(name, LinkMode.PACED, lagging=False)
    run(name, machine)
    machine.plane.close()


@pytest.mark.parametrize("overlap", [o for o in Overlap if o is not Overlap.RING])
@pytest.mark.parametrize("name", ["stream", "prompt_in_pieces", "promote", "finish"])
def test_with_less_look_ahead(name: str, overlap: Overlap) -> None:
    run(name, Bench(LATE, overlap=overlap))


NEEDED = [
    *((Wait.WRITTEN, name, EARLY) for name in SCENARIOS),  # race 1
    (Wait.CONSUMED, "stream", EARLY),  # race 2: in the ring
    (Wait.CONSUMED, "load", EARLY),  # race 2: in pages that were poisoned, or another's
    *((Wait.LOADED, name, LATE) for name in SCENARIOS),  # race 3
    *((Wait.STORED, name, LATE) for name in SCENARIOS),  # race 4
    (Wait.READ, "swap", LATE),  # race 5
    (Wait.READ, "load", LATE),
    *((Wait.FREED, name, LATE) for name in SCENARIOS),  # race 6
]


@pytest.mark.parametrize(("wait", "name", "mode"), NEEDED)
def test_without_one_wait_kv_is_corrupted(wait: Wait, name: str, mode: LinkMode) -> None:
    with pytest.raises(Corruption):
        run(name, bench(name, mode, off=[wait]))


def lose_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = BatchGroups.parts

    def parts(self: BatchGroups, layer: int, passes_ahead: int) -> list[GroupPart] | None:
        found = whole(self, layer, passes_ahead)
        return found and [part._replace(slots=part.slots[:-1]) for part in found]

    monkeypatch.setattr(BatchGroups, "parts", parts)


def test_pages_that_were_not_staged_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Race 7: attention must not go on with fewer tokens."""
    lose_a_page(monkeypatch)
    with pytest.raises(BackendError, match=r"request 1, layer 0: 4 of 10 tokens are not on"):
        run("stream", bench("stream", LATE))


def test_without_the_count_tokens_are_lost_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    lose_a_page(monkeypatch)
    with pytest.raises(Corruption):
        run("stream", bench("stream", LATE, off=[Wait.COUNTED]))


def test_a_wait_that_nobody_ends_is_no_hang() -> None:
    machine = bench("stream", LinkMode.MANUAL, lagging=False)
    with pytest.raises(BackendError, match="waited for and nobody moves it"):
        run("stream", machine)
