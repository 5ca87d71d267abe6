"""Attention over pieces: right by the formula, and bitwise blind to where the pieces lie."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from orbitflow.backend.attention.reference import (
    Scratch,
    Segment,
    decode_attention,
    prefill_attention,
)

torch.set_num_threads(1)

HEADS, KV_HEADS, D = 6, 2, 24


def drawn(tokens: int, heads: int, seed: int = 0) -> Tensor:
    return torch.randn(tokens, heads, D, generator=torch.Generator().manual_seed(seed))


def by_the_formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head and one query at a time, in double precision; query i sees all but the last ones."""
    out = torch.empty(q.shape, dtype=torch.float64)
    group, prior = HEADS // KV_HEADS, len(k) - len(q)
    for i in range(len(q)):
        for head in range(HEADS):
            keys = k[: prior + i + 1, head // group].double()
            scores = keys @ q[i, head].double() / math.sqrt(D)
            values = v[: prior + i + 1, head // group].double()
            out[i, head] = scores.softmax(0) @ values
    return out.float()


@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 700])
def test_decode_is_the_formula(tokens: int) -> None:
    q, k, v = drawn(1, HEADS, 1), drawn(tokens, KV_HEADS, 2), drawn(tokens, KV_HEADS, 3)
    wanted = by_the_formula(q, k, v)[0]
    torch.testing.assert_close(decode_attention(q[0], [(k, v)]), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("tokens", "prior"), [(1, 0), (7, 0), (40, 0), (1, 9), (16, 48), (33, 5)])
def test_prefill_is_the_formula(tokens: int, prior: int) -> None:
    q = drawn(tokens, HEADS, 1)
    k, v = drawn(prior + tokens, KV_HEADS, 2), drawn(prior + tokens, KV_HEADS, 3)
    before = [(k[:prior], v[:prior])] if prior else []
    attended = prefill_attention(q, k[prior:], v[prior:], before)
    torch.testing.assert_close(attended, by_the_formula(q, k, v), atol=1e-5, rtol=0)


def page_of(k: Tensor, v: Tensor, page_tokens: int) -> Segment:
    """As in a pool: keys and values adjacent, behind other pages, what is not filled is NaN."""
    pool = torch.full((3, 2, page_tokens, KV_HEADS, D), math.nan)
    pool[1, 0, : len(k)] = k
    pool[1, 1, : len(v)] = v
    return pool[1, 0, : len(k)], pool[1, 1, : len(v)]


def interleaved(k: Tensor, v: Tensor) -> Segment:
    """Key and value of a token side by side."""
    both = torch.stack((k, v), dim=1)
    return both[:, 0], both[:, 1]


def shifted(k: Tensor, v: Tensor) -> Segment:
    """Not aligned to anything."""
    k, v = (torch.empty(x.numel() + 1)[1:].view(x.shape).copy_(x) for x in (k, v))
    return k, v


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2)), min_size=1, max_size=8))
def test_bits_do_not_depend_on_the_cut(cuts: list[tuple[int, int]]) -> None:
    total = sum(size for size, _ in cuts)
    q, k, v = drawn(1, HEADS, 1)[0], drawn(total, KV_HEADS, 2), drawn(total, KV_HEADS, 3)
    segments, start = [], 0
    for size, kind in cuts:
        part = k[start : start + size], v[start : start + size]
        make = (lambda k, v: page_of(k, v, 64), interleaved, shifted)[kind]
        segments.append(make(*part))
        start += size
    scratch = Scratch()
    whole = decode_attention(q, [(k, v)])
    assert torch.equal(decode_attention(q, segments, scratch), whole)
    assert torch.equal(decode_attention(q, segments, scratch), whole)
    new = drawn(5, HEADS, 4), drawn(5, KV_HEADS, 5), drawn(5, KV_HEADS, 6)
    prefilled = prefill_attention(*new, segments, scratch)
    assert torch.equal(prefilled, prefill_attention(*new, [(k, v)]))


def test_results_outlive_the_scratch() -> None:
    scratch = Scratch()
    q, k = drawn(1, HEADS)[0], drawn(20, KV_HEADS)
    halves = [(k[:10], k[:10]), (k[10:], k[10:])]
    first = decode_attention(q, halves, scratch)
    kept = first.clone()
    decode_attention(q + 1, [*halves, *halves], scratch)
    assert torch.equal(first, kept)


def test_scratch_serves_several_shapes_and_types() -> None:
    scratch = Scratch()
    for heads, dtype in ((2, torch.float32), (3, torch.float32), (3, torch.float64)):
        k = drawn(8, heads).to(dtype)
        joined = scratch.join([(k[:3], k[:3]), (k[3:], k[3:])])
        assert torch.equal(joined[0], k)
        assert torch.equal(joined[1], k)
