"""The hardware table and the roofline, against figures worked out by hand."""

from __future__ import annotations

import pytest
from reference.lines import lines

from orbitflow.errors import ProfileError
from orbitflow.machine.hardware import GpuNode, find_gpu, hardware_table, roofline
from orbitflow.machine.model import model_from_config, model_from_fields
from orbitflow.units import GIB

LLAMA = model_from_config("llama-3-8b")


def test_the_table_is_complete_and_plausible() -> None:
    """No modern GPU does fewer than 50 or more than 1,000 dense flops per byte it reads."""
    gpus = hardware_table().gpus
    assert len({gpu.name for gpu in gpus}) == len(gpus) == 12
    for gpu in gpus:
        assert gpu.source
        assert 50 < gpu.bf16_dense_tflops * 1000 / gpu.hbm_gb_per_s < 1000
        assert gpu.link_gb_per_s < gpu.hbm_gb_per_s


def test_decode_on_a_5000_by_hand() -> None:
    """Read in a pass: (32 x 218,112,000 + 128256 x 4096 + 4096) x 2 B = 15,009,849,344 B.

    768 GB/s x 0.8 = 614.4 GB/s: 24.43 ms, and 2 ms of overhead: 26.43 ms.
    The head is 1,050,681,344 B of it, 7.0 %: 1.850 ms.
    One token of KV: 131,072 / 614.4e9 = 0.2133 µs.
    One more request: 2 x 7,504,924,672 / 55.55e12 = 0.2702 ms.
    """
    fit = GpuNode(find_gpu("a5000")).decode_fit(LLAMA)
    assert fit.base_s == pytest.approx(15_009_849_344 / 614.4e9 + 0.002)
    assert fit.base_s == pytest.approx(26.43e-3, rel=1e-3)
    assert fit.outside_s == pytest.approx(1.850e-3, rel=1e-3)
    assert fit.token_s == pytest.approx(0.21333e-6, rel=1e-4)
    assert fit.request_s == pytest.approx(0.27020e-3, rel=1e-4)


def test_prefill_on_a_5000_by_hand() -> None:
    """A token: 2 x 6,979,584,000 / 55.55e12 = 0.2513 ms.

    A pair: 4 x 32 x 32 x 128 / 55.55e12 = 9.438 ns.
    """
    fit = GpuNode(find_gpu("a5000")).prefill_fit(LLAMA)
    assert fit.base_s == 0.002
    assert fit.token_s == pytest.approx(0.25129e-3, rel=1e-4)
    assert fit.pair_s == pytest.approx(9.4381e-9, rel=1e-4)


def test_four_gpus_have_four_times_everything_but_the_link() -> None:
    one = roofline("one", GpuNode(find_gpu("a6000")), LLAMA)
    four = roofline("four", GpuNode(find_gpu("a6000"), 4), LLAMA)
    assert four.gpu_memory_bytes == 4 * one.gpu_memory_bytes == 192 * GIB
    assert lines(four).decode.token_s == pytest.approx(lines(one).decode.token_s / 4)
    assert lines(four).prefill.pair_s == pytest.approx(lines(one).prefill.pair_s / 4)
    assert four.h2d == one.h2d
    assert four.weight_bytes == one.weight_bytes
    assert any("communication" in line for line in four.simplified)
    assert not any("communication" in line for line in one.simplified)


def test_heads_must_divide_over_the_gpus() -> None:
    with pytest.raises(ProfileError, match="32 heads, no multiple of 3 GPUs"):
        roofline("three", GpuNode(find_gpu("l4"), 3), LLAMA)


def test_kv_heads_are_repeated_where_there_are_fewer_than_gpus() -> None:
    """2 KV heads on 4 GPUs: each GPU holds and reads 1 of them, not a half.

    Qwen2.5-1.5B: 28 x 2 x 2 x 128 x 2 B = 28,672 B a token, 57,344 B on 4 GPUs. Free on 4 x 40 GiB:
    0.9 x 160 GiB - 1,543,714,304 x 2 B - 1 GiB = 150,457,436,569 B, or 40,996 pages of 64 tokens.
    """
    fields = {
        **{"model_type": "qwen2", "num_hidden_layers": 28, "hidden_size": 1536},
        **{"num_attention_heads": 12, "num_key_value_heads": 2, "intermediate_size": 8960},
        **{"vocab_size": 151936, "tie_word_embeddings": True},
    }
    model = model_from_fields("qwen2.5-1.5b", fields)
    gpu = find_gpu("a100-40gb")
    one, two, four = (roofline("r", GpuNode(gpu, n), model) for n in (1, 2, 4))
    assert model.kv_bytes_per_token == 28_672
    assert four.kv_capacity_tokens() == 40_996 * 64 == 2_623_744
    assert lines(two).decode.token_s == pytest.approx(lines(one).decode.token_s / 2)
    assert lines(four).decode.token_s == pytest.approx(lines(one).decode.token_s / 2)
    assert any("2 KV heads on 4 GPUs are repeated, 2 copies" in line for line in four.simplified)
    assert not any("repeated" in line for line in (*one.simplified, *two.simplified))
    with pytest.raises(
        ProfileError, match="2 KV heads, which can be neither split over nor repeat"
    ):
        roofline("three", GpuNode(gpu, 3), model)


def test_sixteen_gpus_hold_llama_3_8b_twice() -> None:
    """8 KV heads on 16 GPUs of 80 GiB: 262,144 B a token."""
    profile = roofline("sixteen", GpuNode(find_gpu("h100"), 16), LLAMA)
    free = 0.9 * 1280 * GIB - LLAMA.weight_bytes - GIB
    assert profile.kv_capacity_tokens() == int(free // (64 * 262_144)) * 64 == 4_653_184


def test_unknown_gpu() -> None:
    with pytest.raises(ProfileError, match="h100"):
        find_gpu("h10")
