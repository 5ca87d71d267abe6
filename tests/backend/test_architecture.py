"""Which configurations the backend computes, and what it says to the others. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from orbitflow.backend.model.architecture import FAMILIES, Llama3Scaling, Rope, read_architecture
from orbitflow.machine.model import model_from_config, preset_names

from orbitflow.errors import ProfileError

SMALL: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 100,
}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def write(folder: Path, **changes: Any) -> str:
    (folder / "config.json").write_text(json.dumps({**SMALL, **changes}))
    return str(folder)


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_computed(preset: str) -> None:
    architecture = read_architecture(preset)
    assert architecture.spec == model_from_config(preset)
    name = next((f for f in ("qwen2", "qwen3", "mistral") if preset.startswith(f)), None)
    if name:
        assert architecture.family == FAMILIES[name]


def test_llama_3_1_stretches_its_rope() -> None:
    scaling = Llama3Scaling(8.0, 1.0, 4.0, 8192)
    assert read_architecture("llama-3.1-8b").rope == Rope(500_000.0, llama3=scaling)
    assert read_architecture("llama-3-8b").rope == Rope(500_000.0)


@pytest.mark.parametrize(
    ("changes", "rope"),
    [
        ({}, Rope(10_000.0)),
        ({"rope_theta": 5e5, "rope_scaling": None}, Rope(5e5)),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, Rope(10_000.0, factor=2.0)),
        ({"rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}}, Rope(7.0)),
        (
            {"rope_parameters": {"rope_type": "llama3", **LLAMA3}},
            Rope(10_000.0, llama3=Llama3Scaling(8.0, 1.0, 4.0, 8192)),
        ),
    ],
)
def test_rope_in_both_spellings(tmp_path: Path, changes: dict[str, Any], rope: Rope) -> None:
    assert read_architecture(write(tmp_path, **changes)).rope == rope


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gemma2"}, "no gemma2 models: take one of llama, mistral, qwen2, qwen3"),
        ({"model_type": "cohere"}, "no cohere models"),
        ({"attention_bias": True}, r"biases in attention \(attention_bias\)"),
        ({"mlp_bias": True}, r"biases in the MLP \(mlp_bias\)"),
        ({"hidden_act": "gelu"}, "hidden_act gelu"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope scaling yarn"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 4.0}}, "low_freq_factor is None"),
        ({"rope_scaling": {**LLAMA3, "rope_type": "llama3", "factor": 0}}, "factor is 0"),
        (
            {"rope_scaling": {**LLAMA3, "rope_type": "llama3", "high_freq_factor": 1.0}},
            "high_freq_factor 1 must exceed low_freq_factor 1",
        ),
        ({"rope_scaling": "llama3"}, "rope_scaling is 'llama3'"),
        ({"rope_theta": "big"}, "rope_theta is 'big'"),
        ({"rms_norm_eps": -1}, "rms_norm_eps is -1"),
        ({"head_dim": 15}, "head_dim 15 is odd"),
        ({"num_experts": 8}, "mixture of experts"),
        ({"dtype": "int8"}, "dtype int8"),
    ],
)
def test_what_is_not_computed_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProfileError, match=said) as refusal:
        read_architecture(write(tmp_path, **changes))
    assert "\n" not in str(refusal.value)


def test_another_type_changes_the_bytes() -> None:
    half = read_architecture("tiny-llama").with_dtype("bfloat16")
    assert (half.dtype, half.spec.dtype_bytes) == ("bfloat16", 2)
    with pytest.raises(ProfileError, match="dtype int4 is not supported: use one of float32"):
        half.with_dtype("int4")
