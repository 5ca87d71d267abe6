"""Costs against loops over every request, token and page."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.lines import lines
from strategies import small_machine

from orbitflow.errors import UserError
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.machine.profile import HostFit, LinkFit
from orbitflow.step import PrefillChunk

EXAMPLES = settings(max_examples=60, derandomize=True)
CURVE = LinkFit(3e-6, (4096.0, 65536.0, 1048576.0), (2e9, 8e9, 12e9))

contexts_st = st.lists(st.integers(1, 200), min_size=1, max_size=8)


def bandwidth(link: LinkFit, run_bytes: float) -> float:
    """Linear between the points, constant outside them."""
    points = list(zip(link.run_bytes, link.bytes_per_s, strict=True))
    if run_bytes <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if run_bytes <= x1:
            return y0 + (y1 - y0) * (run_bytes - x0) / (x1 - x0)
    return points[-1][1]


def full_pages(context: int, page_tokens: int) -> int:
    """Pages that are full when `context` - 1 tokens lie behind the one being decoded."""
    pages = held = 0
    for _ in range(context - 1):
        held += 1
        if held == page_tokens:
            pages, held = pages + 1, 0
    return pages


@EXAMPLES
@given(contexts_st, st.integers(1, 70), st.sampled_from((1, 2, 3, 16, 64)))
def test_full_pages_are_those_counted_token_by_token(
    contexts: list[int], passes: int, page_tokens: int
) -> None:
    cost = replace(small_machine().cost, page_tokens=page_tokens)
    got = cost.full_pages(np.array(contexts), passes).tolist()
    assert got == [sum(full_pages(c + j, page_tokens) for c in contexts) for j in range(passes)]


@EXAMPLES
@given(
    contexts_st,
    st.integers(1, 40),
    st.sampled_from(
        (
            CURVE,
            replace(CURVE, latency_s=0.0),
            LinkFit(0.0, (1.0,), (5e8,)),
            LinkFit(1e-5, (1.0,), (5e8,)),
        )
    ),
)
def test_streaming_costs_one_run_per_request(
    contexts: list[int], passes: int, link: LinkFit
) -> None:
    cost = replace(small_machine().cost, h2d=link, page_tokens=4, page_bytes=16384)
    seconds, size = cost.stream_s(np.array(contexts), passes)
    for j in range(passes):
        want_s, want_bytes = 0.0, 0
        for context in contexts:
            run = full_pages(context + j, 4) * 16384
            if run:
                want_s += link.latency_s + run / bandwidth(link, run)
            want_bytes += run
        assert seconds[j] == pytest.approx(want_s, rel=1e-12)
        assert size[j] == want_bytes


@EXAMPLES
@given(st.integers(0, 10**7), st.integers(1, 40))
def test_a_copy_is_its_latency_and_its_bytes_at_the_speed_of_its_runs(size: int, runs: int) -> None:
    want = runs * CURVE.latency_s + size / bandwidth(CURVE, size / runs) if size else 0.0
    assert small_machine().cost.copy_s(CURVE, size, runs) == pytest.approx(want, rel=1e-12)


def test_bandwidth_hits_the_points_of_its_curve() -> None:
    cost = small_machine().cost
    for run, rate in zip(CURVE.run_bytes, CURVE.bytes_per_s, strict=True):
        assert cost.copy_s(CURVE, run) == pytest.approx(CURVE.latency_s + run / rate)
    assert cost.copy_s(CURVE, 1.0) == pytest.approx(CURVE.latency_s + 1 / 2e9)
    assert cost.copy_s(CURVE, 1e9) == pytest.approx(CURVE.latency_s + 1e9 / 12e9)


@EXAMPLES
@given(st.integers(1, 5000), st.integers(1, 700))
def test_chunks_add_up_to_the_whole_prompt_but_for_its_constant(prompt: int, chunk: int) -> None:
    cost = small_machine().cost
    total = sum(cost.chunk_s(min(chunk, prompt - at), at) for at in range(0, prompt, chunk))
    assert total + lines(cost).prefill.base_s == pytest.approx(cost.prefill_s(prompt), rel=1e-12)


def test_prefill_is_a_sum_over_its_tokens() -> None:
    """Token k attends to the k - 1/2 tokens before its own middle, so pairs sum to n(x + n/2)."""
    cost = small_machine().cost
    prefill = lines(cost).prefill
    by_token = sum(prefill.token_s + prefill.pair_s * (7 + k + 0.5) for k in range(13))
    assert cost.chunk_s(13, 7) == pytest.approx(by_token)


def test_the_constant_of_prefill_counts_only_where_nothing_decodes() -> None:
    cost = small_machine().cost
    chunks = (PrefillChunk(0, 8, 8, False, (), ()), PrefillChunk(1, 0, 5, True, (), ()))
    pieces = cost.chunk_s(8, 8) + cost.chunk_s(5, 0)
    assert cost.mixed_pass_s(chunks, 0, 0) == pytest.approx(lines(cost).prefill.base_s + pieces)
    decode = (
        lines(cost).decode.base_s
        + 3 * lines(cost).decode.request_s
        + 100 * lines(cost).decode.token_s
    )
    assert cost.mixed_pass_s(chunks, 3, 100) == pytest.approx(decode + pieces)


@pytest.mark.parametrize("scale", [0.5, 2.0, 7.0])
def test_scales_divide_the_times_that_they_are_about(scale: float) -> None:
    profile = resolve_profile("a5000-roofline", None)
    plain = CostModel.from_profile(profile)
    fast = CostModel.from_profile(profile, compute_scale=scale)
    assert fast.decode_pass_s(3, 999) == pytest.approx(plain.decode_pass_s(3, 999) / scale)
    assert fast.prefill_s(999) == pytest.approx(plain.prefill_s(999) / scale)
    assert lines(fast).decode.outside_s == pytest.approx(lines(plain).decode.outside_s / scale)
    assert (fast.h2d, fast.d2h) == (plain.h2d, plain.d2h)
    wide = CostModel.from_profile(profile, link_scale=scale)
    assert wide.passes == plain.passes
    for before, after in ((plain.h2d, wide.h2d), (plain.d2h, wide.d2h)):
        assert np.array(after.bytes_per_s) == pytest.approx(np.array(before.bytes_per_s) * scale)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_scales_must_be_positive_and_finite(scale: float) -> None:
    profile = resolve_profile("a5000-roofline", None)
    with pytest.raises(UserError, match="--link-scale"):
        CostModel.from_profile(profile, link_scale=scale)
    with pytest.raises(UserError, match="--compute-scale"):
        CostModel.from_profile(profile, compute_scale=scale)


@EXAMPLES
@given(contexts_st, st.integers(1, 40), st.sampled_from((0.2, 0.37)), st.sampled_from((0, 1)))
def test_a_share_of_every_run_is_streamed(
    contexts: list[int], passes: int, share: float, curved: int
) -> None:
    cost = small_machine(latency_s=1e-5).cost
    cost = replace(cost, h2d=CURVE) if curved else cost
    seconds, size = cost.stream_s(np.array(contexts), passes, share)
    for j in range(passes):
        runs = [full_pages(c + j, cost.page_tokens) * cost.page_bytes for c in contexts]
        assert size[j] == int(sum(runs) * share)
        some = [run * share for run in runs if run]
        want = sum(cost.h2d.latency_s + run / bandwidth(cost.h2d, run) for run in some)
        # Bytes are whole; on a flat link so is what is timed.
        assert seconds[j] == pytest.approx(want, rel=1e-3)


def test_the_cpu_attends_and_q_and_o_travel() -> None:
    """9500 bytes at 1.9e7 a second; 3 x 700 bytes each way at 3.1e6, 1e-5 s of latency each."""
    cost = small_machine(latency_s=1e-5).cost
    want = 9500 / 1.9e7 + 2 * (1e-5 + 2100 / 3.1e6)
    assert cost.host_attention_s(np.array([9500.0]), 3) == pytest.approx([want])
    assert cost.host_gather_s(np.array([8600.0])) == pytest.approx([0.002])


def test_the_scale_of_compute_is_that_of_the_cpu_too() -> None:
    profile = resolve_profile("a5000-llama3-8b-paper", None)
    assert profile.host is not None
    cost = CostModel.from_profile(profile, compute_scale=2.0)
    rates = (profile.host.attention_bytes_per_s, profile.host.gather_bytes_per_s)
    assert cost.host == HostFit(2 * rates[0], 2 * rates[1])
    assert cost.query_bytes == 32 * 128 * 2
    assert CostModel.from_profile(replace(profile, host=None)).host is None
