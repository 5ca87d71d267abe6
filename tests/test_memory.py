"""The KV account: pages counted by hand, and totals that always add up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.errors import PolicyError, UserError
from orbitflow.memory import BatchPages, KvAccount, KvLimits

LIMITS = KvLimits(layers=4, page_tokens=16, gpu_pages=40, host_pages=100)


def test_limits_from_tokens() -> None:
    """1,000 tokens are 62 whole pages in each of 4 layers; 1 MiB holds 64 pages of 16 KiB."""
    limits = KvLimits.from_tokens(4, 16, 1000, 2**20, 1024)
    assert limits == KvLimits(4, 16, 248, 64)
    assert limits.capacity_tokens == 992
    assert KvLimits.from_tokens(4, 16, 16).host_pages is None


def test_less_than_a_page_is_refused() -> None:
    with pytest.raises(UserError, match=r"15 .* 16 .*--kv-capacity-tokens or --gpu-memory"):
        KvLimits.from_tokens(4, 16, 15)


@pytest.mark.parametrize(
    ("tokens", "pages", "full"), [(1, 1, 0), (16, 1, 0), (17, 2, 1), (32, 2, 1), (33, 3, 2)]
)
def test_pages_and_full_pages(tokens: int, pages: int, full: int) -> None:
    """The page with the token being decoded is not full, even when that token fills it."""
    assert LIMITS.pages(tokens) == pages
    assert LIMITS.full_pages(tokens) == full
    assert LIMITS.whole_pages(tokens) == 4 * pages


CONTEXTS = st.lists(st.integers(1, 500), max_size=12)


@given(CONTEXTS, st.integers(0, 100), st.integers(0, 4), st.integers(0, 3))
def test_a_batch_is_the_sum_of_its_requests(
    contexts: list[int], ahead: int, host: int, ring: int
) -> None:
    batch = BatchPages.of(LIMITS, np.array(contexts, dtype=np.int64), ahead)
    one_by_one = BatchPages(0, 0, 0)
    expected = 0
    for context in contexts:
        one_by_one = one_by_one.plus(LIMITS, context + ahead)
        pages = math.ceil((context + ahead) / 16)
        expected += (4 - host) * pages + host
        expected += ring * ((context + ahead - 1) // 16) if host else 0
    assert batch == one_by_one
    assert batch.gpu_pages(4, host, ring) == expected


def test_gpu_pages_by_hand() -> None:
    """33 and 16 tokens: 3 + 1 pages a layer, 2 + 0 full. Half of 4 layers on the host:

    2 x 4 resident, 2 tail pages each, a ring of 2 groups of 2 pages: 8 + 4 + 4.
    """
    batch = BatchPages.of(LIMITS, np.array([33, 16]))
    assert batch == (2, 4, 2)
    assert batch.gpu_pages(4, 0, 2) == 16
    assert batch.gpu_pages(4, 2, 2) == 16
    assert batch.gpu_pages(4, 4, 1) == 0 + 8 + 2


def test_charge_replaces_and_release_frees() -> None:
    account = KvAccount(LIMITS)
    assert account.is_empty
    account.charge(1, 10, 5)
    account.charge(2, 4, 0)
    account.charge(1, 6, 7)
    assert (account.gpu_used, account.host_used) == (10, 7)
    assert (account.gpu_free, account.host_free) == (30, 93)
    account.release(1)
    assert (account.gpu_used, account.host_used) == (4, 0)
    account.release(2)
    assert account.is_empty
    with pytest.raises(KeyError):
        account.release(2)


def test_the_window_and_the_ring_are_reset() -> None:
    account = KvAccount(LIMITS)
    account.charge(1, 3, 0)
    account.set_window(20, 4)
    account.set_window(10, 6)
    assert (account.gpu_used, account.ring_pages, account.window_pages) == (19, 6, 10)
    account.set_window(0, 0)
    assert account.gpu_used == 3


def test_holding_nothing_is_not_being_gone() -> None:
    account = KvAccount(LIMITS)
    account.charge(1, 0, 0)
    assert not account.is_empty


def test_check_refuses_what_does_not_fit() -> None:
    account = KvAccount(LIMITS)
    account.set_window(36, 4)
    account.check()
    account.set_window(36, 5)
    with pytest.raises(PolicyError, match=r"41 GPU pages of 40 \(ring 5\).*pause, offload"):
        account.check()
    account.set_window(0, 0)
    account.charge(1, 0, 101)
    with pytest.raises(PolicyError, match=r"101 host pages of 100.*--host-memory"):
        account.check()


def test_check_notes_the_peak() -> None:
    account = KvAccount(LIMITS)
    for gpu, host in ((10, 5), (30, 2), (1, 80)):
        account.charge(1, gpu, host)
        account.check()
    assert (account.gpu_peak, account.host_peak) == (30, 80)


def test_a_host_without_limit() -> None:
    account = KvAccount(KvLimits(4, 16, 40, None))
    account.charge(1, 0, 10**12)
    account.check()
    assert account.host_free == math.inf


@given(
    st.lists(
        st.tuples(st.sampled_from("cwr"), st.integers(0, 5), st.integers(0, 50), st.integers(0, 50))
    )
)
def test_totals_are_always_the_sum_of_the_parts(ops: list[tuple[str, int, int, int]]) -> None:
    account = KvAccount(LIMITS)
    held: dict[int, tuple[int, int]] = {}
    window = (0, 0)
    for kind, key, first, second in ops:
        if kind == "c":
            account.charge(key, first, second)
            held[key] = (first, second)
        elif kind == "w":
            account.set_window(first, second)
            window = (first, second)
        elif key in held:
            account.release(key)
            del held[key]
        assert account.gpu_used == sum(gpu for gpu, _ in held.values()) + sum(window)
        assert account.host_used == sum(host for _, host in held.values())
        assert account.is_empty == (not held and not sum(window))
