"""The share of the longest prompts: against its definition, and by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from orbitflow.policy.orbit.deadlines import FAIR, LEAST_KNOWN, LONGEST, MEMORY, FairShare

FATES = st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=120)


def _share(fates: list[tuple[int, bool]]) -> FairShare:
    share = FairShare()
    for prompt, in_time in fates:
        share.book(prompt, in_time=in_time)
    return share


def test_the_longest_tenth_is_owed_what_it_does_not_get() -> None:
    short = [(10, n % 4 > 0) for n in range(72)]  # three of four in time
    share = _share([*short, *[(100, n < 3) for n in range(8)]])  # 0.375 of 0.71: below 0.46
    assert share.is_owed(100)
    assert share.is_owed(400), "longer than any seen"
    assert not share.is_owed(10)
    share.book(100, in_time=True)
    assert share.is_owed(100), "4 of 9 is 0.444 of 0.704"
    share.book(100, in_time=True)
    assert not share.is_owed(100), "5 of 10"


def test_nobody_is_owed_before_enough_is_known() -> None:
    fates = [(10, True)] * (LEAST_KNOWN - 9) + [(100, False)] * 8
    assert not _share(fates).is_owed(100)
    assert _share([*fates, (10, True)]).is_owed(100)


def test_where_nobody_is_in_time_nobody_is_owed() -> None:
    assert not _share([(n, False) for n in range(100)]).is_owed(99)


def test_what_is_long_ago_is_forgotten() -> None:
    assert not _share([(100, False)] * 60 + [(10, True)] * MEMORY).is_owed(100)


@given(FATES, st.integers(1, 30))
def test_as_defined(fates: list[tuple[int, bool]], prompt: int) -> None:
    sizes = sorted(size for size, _ in fates)
    if len(fates) < LEAST_KNOWN or prompt < sizes[int((1 - LONGEST) * len(sizes))]:
        assert not _share(fates).is_owed(prompt)
        return
    longest = [ok for size, ok in fates if size >= sizes[int((1 - LONGEST) * len(sizes))]]
    attained, by_all = sum(longest) / len(longest), sum(ok for _, ok in fates) / len(fates)
    if abs(attained - FAIR * by_all) > 1e-9:
        assert _share(fates).is_owed(prompt) is (attained < FAIR * by_all)
