"""Searches against a scan of a fine grid: monotone, noisy, with holes, and with no crossing."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.study.bisection import (
    Ends,
    Number,
    Varied,
    find_crossing,
    refine_crossing,
)
from orbitflow.study.capacity import read_vary
from orbitflow.study.capacity_run import foresee, replay

RATE = Varied("rate_scale", 1.0, None, 0.02)
LINK = Varied("link_scale", 1.0, None, 0.02)
KV = Varied("kv_capacity_tokens", 40_000, 16, 0.02)


def scan(
    varied: Varied, ends: Ends, is_met: Callable[[Number], bool]
) -> tuple[Number | None, Number | None]:
    """The reference: the last value of a fine grid, from easy to hard, that meets, and the next."""
    steps = 2_000
    grid = [ends.easy * (ends.hard / ends.easy) ** (i / steps) for i in range(steps + 1)]
    met = [value for value in grid if is_met(value)]
    beyond = [v for v in grid if not met or varied.hardness(v) > varied.hardness(met[-1])]
    return (met[-1] if met else None), (beyond[0] if beyond else None)


@settings(derandomize=True, max_examples=150)
@given(
    varied=st.sampled_from([RATE, LINK, KV]),
    log_limit=st.floats(-6, 6),
    width=st.floats(0.7, 6.0),
    shift=st.floats(-1, 1),
    around=st.booleans(),
)
def test_a_monotone_service_is_found_where_a_scan_finds_it(
    varied: Varied, log_limit: float, width: float, shift: float, around: bool
) -> None:
    limit = varied.start * math.exp(log_limit)
    low, high = varied.start * math.exp(shift - width), varied.start * math.exp(shift + width)
    ends = Ends(low, high) if varied.grows else Ends(high, low)

    def is_met(value: Number) -> bool:
        return value <= limit if varied.grows else value >= limit

    found = find_crossing(varied, None if around else ends, is_met)
    if not around:
        met, missed = scan(varied, ends, is_met)
        assert (found.met is None, found.missed is None) == (met is None, missed is None)
        if met is None or missed is None:
            return
        assert found.met is not None
        assert found.missed is not None
        # both brackets hold the limit, so they overlap
        assert min(met, missed) <= max(found.met, found.missed)
        assert min(found.met, found.missed) <= max(met, missed)
    assert found.met is not None
    assert found.missed is not None
    assert is_met(found.met)
    assert not is_met(found.missed)
    assert varied.is_close(found.met, found.missed)
    assert not found.failing_easier
    assert len(found.tested) < 30


@settings(derandomize=True, max_examples=60)
@given(holes=st.sets(st.integers(0, 400), max_size=200), limit=st.floats(1.5, 300.0))
def test_whatever_the_service_does_the_answer_is_what_was_seen(
    holes: set[int], limit: float
) -> None:
    """A service with holes: some easier values fail."""
    ends = Ends(1.0, 400.0)

    def is_met(value: Number) -> bool:
        return value <= limit and int(value) not in holes

    found = find_crossing(RATE, ends, is_met)
    assert all(one.met == is_met(one.value) for one in found.tested)
    values = [one.value for one in found.tested]
    assert values == sorted(values)
    met = [one.value for one in found.tested if one.met]
    if found.met is None:
        assert not met
        return
    assert found.met == max(met)
    harder = [value for value in values if value > found.met]
    assert found.missed == (min(harder) if harder else None)
    expected = tuple(v for v in values if v < found.met and not is_met(v))
    assert found.failing_easier == expected


def test_a_hole_below_the_answer_is_reported() -> None:
    def is_met(value: Number) -> bool:
        return value <= 3.0 and not 2.2 < value < 2.6

    found = find_crossing(RATE, None, is_met)
    assert found.met == pytest.approx(3.0, rel=0.02)
    assert found.failing_easier
    assert all(2.2 < value < 2.6 for value in found.failing_easier)


def test_a_service_that_is_met_only_beyond_the_start_is_found() -> None:
    """As goodput: too low a rate cannot reach it."""
    found = find_crossing(RATE, None, lambda value: 3.0 <= value <= 20.0)
    assert found.met == pytest.approx(20.0, rel=0.02)
    assert found.failing_easier


def test_no_crossing() -> None:
    nowhere = find_crossing(KV, Ends(80_000, 1_600), lambda _: False)
    assert (nowhere.met, nowhere.missed) == (None, 80_000)
    everywhere = find_crossing(KV, Ends(80_000, 1_600), lambda _: True)
    assert (everywhere.met, everywhere.missed) == (1_600, None)
    assert find_crossing(RATE, None, lambda _: True).met == 1024.0
    assert find_crossing(RATE, None, lambda _: False).tested[0].value == pytest.approx(
        1 / 1024, rel=1e-3
    )
    small = Varied("kv_capacity_tokens", 64, 16, 0.02)
    to_a_page = find_crossing(small, None, lambda _: True)  # no smaller memory than one page
    assert (to_a_page.met, to_a_page.missed) == (16, None)


def test_counts_stay_on_pages_and_are_found_to_the_page() -> None:
    fine = Varied("kv_capacity_tokens", 40_000, 16, 1e-6)
    found = find_crossing(fine, None, lambda value: value >= 12_345)
    assert (found.met, found.missed) == (12_352, 12_336)
    assert all(one.value % 16 == 0 for one in found.tested)
    assert all(isinstance(one.value, int) for one in found.tested)


def test_one_seed_alone_searches_between_the_points_of_all() -> None:
    asked: list[Number] = []

    def is_met(value: Number) -> bool:
        asked.append(value)
        return value <= 1.9

    found = refine_crossing(RATE, (1.0, 2.0, 2.05, 4.0), is_met)
    assert found.met is not None
    assert found.missed is not None
    assert found.met <= 1.9 < found.missed
    assert RATE.is_close(found.met, found.missed)
    assert asked[:4] == [4.0, 2.05, 2.0, 1.0]
    beyond = refine_crossing(RATE, (1.0, 2.0), lambda _: True)
    assert (beyond.met, beyond.missed) == (2.0, None)


def test_the_path_of_a_search_ignores_what_else_is_known() -> None:
    def limit(value: Number) -> bool:
        return value <= 2.5

    whole = replay(partial(find_crossing, RATE, None), limit)
    assert whole.asks is None
    assert dict(whole.path) == {one.value: one.met for one in whole.crossing.tested}  # type: ignore[union-attr]
    for length in range(len(whole.path)):
        known = {**dict(whole.path[:length]), 77.7: True}
        part = replay(partial(find_crossing, RATE, None), known.get)
        assert part.path == whole.path[:length]
        assert part.asks == whole.path[length][0]
        assert part.crossing is None


def test_foresight_begins_with_the_question_and_holds_what_follows_either_answer() -> None:
    known = {1.0: True}
    asks = foresee(partial(find_crossing, RATE, None), known.get, 4)
    assert asks[:3] == [2.0, 4.0, 1.414]  # then: twice as hard if it is met, else the middle
    assert len(asks) == 4
    assert foresee(partial(find_crossing, RATE, None), lambda value: value <= 3, 4) == []


@pytest.mark.parametrize(
    ("option", "key", "ends"),
    [
        ("rate-scale", "rate_scale", None),
        ("rate_scale=0.1..2", "rate_scale", Ends(0.1, 2.0)),
        ("gpu-memory=16GiB..80GiB", "gpu_memory_bytes", Ends(80 << 30, 16 << 30)),
        ("slo-tbt=50ms..1s", "slo_tbt_s", Ends(1.0, 0.05)),
    ],
)
def test_reading_what_is_varied(option: str, key: str, ends: Ends | None) -> None:
    assert read_vary(option) == (key, ends)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("rate-scal", "did you mean rate_scale"),
        ("max-batch", "neither easier nor harder"),
        ("victim", "neither easier nor harder"),
        ("rate-scale=2..1", "below high"),
        ("rate-scale=1", r"low\.\.high"),
        ("rate-scale=0..1", "above 0"),
        ("gpu-memory=lots..80GiB", "--vary gpu-memory: cannot read 'lots'"),
    ],
)
def test_mistakes_in_what_is_varied(option: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_vary(option)


def test_every_key_that_can_be_varied_is_an_option_with_a_number() -> None:
    for name in ("rate-scale", "context-scale", "output-scale", "link-scale", "compute-scale",
                 "gpu-memory", "kv-capacity-tokens", "host-memory", "slo-scale", "slo-tbt",
                 "slo-ttft", "slo-ttft-scale"):  # fmt: skip
        assert hasattr(RunConfig(trace="t"), read_vary(name)[0])
