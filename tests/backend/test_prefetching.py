"""How far ahead groups are loaded: as far as the form of overlap and the ring allow."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from reference.kv_machine import LAYERS, Bench
from reference.stepped_channel import LinkMode

from orbitflow.machine.pipeline import Overlap

torch.set_num_threads(1)
ALL = tuple(range(LAYERS))


def loads(overlap: Overlap, ring: int, passes: int = 2) -> list[int]:
    """Groups loaded by the time a step has begun, and when each layer has begun and ended."""
    bench = Bench(LinkMode.EARLY, lagging=False, overlap=overlap)
    bench.prefill(1, 9, ALL)  # two full pages; the next is full after the third pass
    bench.catch_up()
    bench.plane.up.take_use()
    bench.begin([1], passes=passes, ring=ring)
    counts = [bench.plane.up.take_use().transfers]
    for _ in range(passes):
        for layer in ALL:
            bench.store.begin_layer(layer)
            counts.append(counts[-1] + bench.plane.up.take_use().transfers)
            new = torch.rand((1, 2, 2))
            bench.store.append([1], layer, new, new)
            bench.store.read(1, layer)
            bench.store.end_layer(layer)
            counts.append(counts[-1] + bench.plane.up.take_use().transfers)
        bench.store.end_pass()
    return counts


def test_serial_loads_a_group_when_its_layer_begins() -> None:
    assert loads(Overlap.SERIAL, 4) == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_barrier_loads_one_layer_ahead_and_the_first_outside_the_layers() -> None:
    assert loads(Overlap.BARRIER, 4) == [1, 2, 2, 3, 3, 3, 4, 5, 5, 6, 6, 6, 7]


def test_paper_loads_all_of_a_pass_and_none_of_the_next() -> None:
    assert loads(Overlap.PAPER, 20) == [0, 3, 3, 3, 3, 3, 3, 6, 6, 6, 6, 6, 6]


def test_a_ring_of_two_groups_is_always_full() -> None:
    assert loads(Overlap.RING, 4) == [2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8]


def test_a_large_ring_runs_on_until_a_page_is_missing() -> None:
    """Three passes' groups can be loaded; those of the fourth need pages that are not full yet."""
    assert loads(Overlap.RING, 100)[0] == 3 * LAYERS


def test_with_nothing_on_the_host_the_walk_ends() -> None:
    bench = Bench()
    bench.prefill(1, 9)
    bench.step([1], passes=3)
    assert bench.store.traffic.streamed == 0
