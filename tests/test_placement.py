"""Strides as in the paper, and placements with exceptions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.placement import ALL_RESIDENT, RESIDENT, Placement, stride, useful_distances


@pytest.mark.parametrize(
    ("layers", "distances", "counts"),
    [
        (32, [1, 2, 3, 4, 5, 7, 9, 15, 31], [16, 10, 8, 6, 5, 4, 3, 2, 1]),
        (
            80,
            [1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 15, 19, 25, 39, 79],
            [40, 26, 20, 16, 13, 11, 10, 8, 7, 6, 5, 4, 3, 2, 1],
        ),
    ],
)
def test_the_papers_sets(layers: int, distances: list[int], counts: list[int]) -> None:
    """research/paper.md A.1: the widest distance for each number of host layers."""
    assert list(useful_distances(layers)) == distances[::-1]
    assert [len(stride(layers, d)) for d in distances] == counts


def test_strides_by_hand() -> None:
    assert stride(8, 0) == (0, 1, 2, 3, 4, 5, 6, 7)
    assert stride(8, 1) == (1, 3, 5, 7)
    assert stride(8, 2) == (2, 5)
    assert stride(8, 7) == (7,)
    assert stride(8, 8) == RESIDENT


def test_a_negative_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        stride(8, -1)


@given(st.integers(1, 130), st.integers(0, 140))
def test_a_stride_is_its_definition(layers: int, distance: int) -> None:
    host = stride(layers, distance)
    assert list(host) == [x for x in range(layers) if x % (distance + 1) == distance]
    assert len(host) == layers // (distance + 1)


@given(st.integers(1, 130))
def test_useful_distances_are_the_widest_of_their_count(layers: int) -> None:
    distances = useful_distances(layers)
    assert list(distances) == sorted(set(distances), reverse=True)
    reachable = {len(stride(layers, d)) for d in range(1, layers)} - {0}
    assert {len(stride(layers, d)) for d in distances} == reachable
    for d in distances:
        assert len(stride(layers, d + 1)) < len(stride(layers, d)) <= layers // 2


def test_exceptions_override_the_default() -> None:
    placement = Placement((1, 3), {7: (0,), 8: RESIDENT})
    assert placement.host_layers(6) == (1, 3)
    assert placement.host_layers(7) == (0,)
    assert placement.host_layers(8) == RESIDENT
    assert ALL_RESIDENT.host_layers(0) == RESIDENT
