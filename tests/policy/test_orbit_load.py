"""The load: by hand, against brute force over turns, and what must not help."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import PAGE, small_machine

from orbitflow.memory import KvLimits
from orbitflow.policy.orbit.load import Demand, Demands, LoadModel

COST = small_machine(link_bytes_per_s=1e5).cost  # a page of 4000 bytes takes 0.04 s


def _load(
    gpu_pages: int, demands: list[Demand], *, rotates: bool = True, turn_passes: int = 10
) -> float:
    limits = KvLimits(6, PAGE, gpu_pages)
    model = LoadModel(limits, ring_groups=2, turn_passes=turn_passes, rotates=rotates)
    *standing, newcomer = demands
    return model.of(COST, Demands.of(standing), newcomer)


def test_what_fits_is_one_pass() -> None:
    """Two requests of 9 tokens: 3 pages in each of 6 layers, 36 in all."""
    assert _load(36, [Demand(9, 0.1), Demand(9, 0.2)]) == COST.decode_pass_s(2, 18) / 0.1
    assert _load(36, [Demand(9, 0.1)]) == COST.decode_pass_s(1, 9) / 0.1


def test_streaming_or_turns_whichever_takes_less() -> None:
    """With 34 pages 2 are too many; a ring of two groups of 3 is 6 more, and 3 pages streamed free
    two: 12 pages a pass, 0.48 s. By turns each pass brings in a tenth of 18 pages: 0.072 s, more
    than its compute, twice.
    """
    demands = [Demand(9, 0.3), Demand(9, 0.3)]
    assert _load(34, demands, rotates=False) == pytest.approx(0.48 / 0.3)
    assert _load(34, demands) == pytest.approx(2 * 0.072 / 0.3)
    assert COST.decode_pass_s(1, 9) < 0.072


def _partitions(rows: list[Demand]) -> Iterator[list[list[Demand]]]:
    if not rows:
        yield []
        return
    first, rest = rows[0], rows[1:]
    for found in _partitions(rest):
        yield [[first], *found]
        for at in range(len(found)):
            yield [*found[:at], [first, *found[at]], *found[at + 1 :]]


def _share(gpu_pages: int, turn: list[Demand], *, alone: bool) -> float:
    pages = sum(6 * -(-m.context_tokens // PAGE) for m in turn)
    largest = max(6 * -(-m.context_tokens // PAGE) for m in turn)
    over = pages - gpu_pages
    streamed = (over + 2 * largest / 6) / (1 - 2 / 6) if over > 0 else 0.0
    if not alone:
        streamed += pages / 10
    compute = COST.decode_pass_s(len(turn), sum(m.context_tokens for m in turn))
    return max(compute, streamed * 0.04) / min(m.pace_s for m in turn)


demand_lists = st.lists(
    st.builds(Demand, st.integers(1, 80), st.sampled_from((0.1, 0.3, 1.0))), min_size=1, max_size=5
)


@given(demand_lists, st.integers(6, 200))
def test_it_never_promises_more_than_the_best_turns(demands: list[Demand], pages: int) -> None:
    best = min(
        sum(_share(pages, turn, alone=len(turns) == 1) for turn in turns)
        for turns in _partitions(demands)
    )
    load = _load(pages, demands)
    assert load >= best * (1 - 1e-9)
    assert load <= _share(pages, demands, alone=True) * (1 + 1e-9), "no worse than streaming all"


@given(demand_lists, st.integers(6, 200))
def test_patience_makes_it_easier(demands: list[Demand], pages: int) -> None:
    relaxed = [Demand(m.context_tokens, 2 * m.pace_s) for m in demands]
    assert _load(pages, relaxed) == pytest.approx(_load(pages, demands) / 2)


@given(demand_lists, st.integers(6, 2_000))
def test_the_short_way_is_the_same_where_it_is_open(demands: list[Demand], pages: int) -> None:
    *standing, newcomer = demands
    model = LoadModel(KvLimits(6, PAGE, pages), ring_groups=2, turn_passes=10, rotates=True)
    arrays = Demands.of(standing)
    least_s = min((one.pace_s for one in standing), default=1.0)
    load = model.if_resident(COST, arrays.context_tokens, least_s, newcomer)
    assert load is None or load == model.of(COST, arrays, newcomer)


def test_the_short_way_is_open_with_room_for_all_and_an_impatient_newcomer() -> None:
    """Three requests of 9 tokens take at most 3 x 3.25 pages in each of 6 layers, 58.5 in all."""
    nines = np.array([9.0, 9.0])
    for pages, least_s, is_open in ((59, 0.1, True), (58, 0.1, False), (59, 0.09, False)):
        model = LoadModel(KvLimits(6, PAGE, pages), ring_groups=2, turn_passes=10, rotates=True)
        load = model.if_resident(COST, nines, least_s, Demand(9, 0.1))
        assert load == (COST.decode_pass_s(3, 27) / 0.1 if is_open else None)
