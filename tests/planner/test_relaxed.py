"""The linear relaxation never asks for more than some placement streams."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitflow.placement import stride
from orbitflow.planner.problem import paper_options
from orbitflow.planner.relaxed import least_streamed_pages


def test_nothing_to_free_streams_nothing() -> None:
    assert least_streamed_pages(paper_options(32), 2, 0, 100) == 0


@pytest.mark.parametrize("layers", [6, 32])
def test_with_every_second_layer_a_ring_of_two_groups_costs_an_eighth(layers: int) -> None:
    # One option: S = (L/2) m and g = m, so S - 2 m >= need gives S >= need / (1 - 4 / L).
    options = (stride(layers, 1),)
    least = least_streamed_pages(options, 2, 1000, 10_000)
    assert least == pytest.approx(1000 / (1 - 4 / layers), rel=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    pages=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    groups=st.sampled_from((0, 1, 2)),
    need=st.integers(1, 300),
)
def test_no_placement_streams_less(pages: list[int], groups: int, need: int) -> None:
    options = (*paper_options(6), stride(6, 0))
    least = least_streamed_pages(options, groups, need, sum(pages))
    for chosen in product(options, repeat=len(pages)):
        streamed = sum(len(o) * f for o, f in zip(chosen, pages, strict=True))
        largest = max(
            sum(f for o, f in zip(chosen, pages, strict=True) if j in o) for j in range(6)
        )
        if streamed - groups * largest >= need:
            assert least <= streamed * (1 + 1e-9)
