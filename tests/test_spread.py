"""Layers from counts: even, out of phase, where they are already; and the bound on the ring."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.placement import Wish, even_order, lay_out


@pytest.mark.parametrize("layers", [1, 2, 7, 32, 80])
def test_every_prefix_of_the_order_is_spread_evenly(layers: int) -> None:
    order = even_order(layers)
    assert sorted(order) == list(range(layers))
    for count in range(1, layers + 1):
        chosen = sorted(order[:count])
        gaps = [b - a for a, b in zip([-1, *chosen], chosen, strict=False)]
        assert max(gaps) <= 2 * layers / count + 1


def test_requests_take_turns_at_the_layers() -> None:
    """By hand, 8 layers: the order is 7 3 5 1 6 2 4 0. The first takes 7 3 5, the second what the
    first has not, 1 6 2; the third stays with two of the layers that it has there already, and
    takes those of them with the least staged: 0 with nothing, then 1 with 9, before 2 in the order.
    """
    wishes = [Wish(3, 10), Wish(3, 9), Wish(2, 5, (0, 1, 2, 3))]
    placed = lay_out(8, wishes)
    assert placed == [(3, 5, 7), (1, 2, 6), (0, 1)]


def test_what_is_on_the_host_stays_there_and_what_arrives_is_left_alone() -> None:
    assert lay_out(8, [Wish(2, 1, (1, 4))]) == [(1, 4)]
    grown = lay_out(8, [Wish(4, 1, (1, 4))])[0]
    assert {1, 4} < set(grown)
    assert 7 not in lay_out(8, [Wish(7, 1, (), (7,))])[0]


wishes = st.lists(
    st.builds(
        Wish,
        st.integers(0, 12),
        st.integers(0, 50),
        st.lists(st.integers(0, 11), unique=True).map(lambda x: tuple(sorted(x))),
        st.just(()),
    ),
    max_size=9,
)


@given(wishes, st.booleans())
def test_the_largest_group_is_bounded(wanted: list[Wish], keeps: bool) -> None:
    placed = lay_out(12, wanted, keeps=keeps)
    loads = [0] * 12
    for wish, host in zip(wanted, placed, strict=True):
        assert len(host) == len(set(host)) == wish.host_layers
        assert list(host) == sorted(host)
        if keeps:
            assert len(set(host) & set(wish.now)) == min(wish.host_layers, len(wish.now))
        for layer in host:
            loads[layer] += wish.group_pages
    hosted = [w.group_pages for w in wanted if w.host_layers]
    if hosted and not keeps:
        mean = sum(w.host_layers * w.group_pages for w in wanted) / 12
        assert max(loads) <= mean + max(hosted) * (1 - 1 / 12) + 1e-9
