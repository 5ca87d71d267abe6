"""The longest context, with the rope stretched as vLLM derives it."""

from __future__ import annotations

from typing import Any

import pytest

from orbitflow.errors import ProfileError
from orbitflow.machine.model import model_from_config, model_from_fields

SMALL: dict[str, Any] = {
    "model_type": "qwen2",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 100,
    "max_position_embeddings": 32768,
}


@pytest.mark.parametrize(
    ("rope", "tokens"),
    [
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131_072),
        ({"rope_type": "yarn", "factor": 16, "original_max_position_embeddings": 4096}, 65_536),
        ({"rope_type": "yarn", "factor": 2.0}, 65_536),
        ({"type": "linear", "factor": 2.5}, 81_920),
        ({"type": "dynamic", "factor": 2.0}, 65_536),
        ({"type": "dynamic", "alpha": 1000.0}, 32_768),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 32_768),
        ({"type": "longrope", "factor": 32.0, "original_max_position_embeddings": 4096}, 32_768),
        ({"type": "su", "factor": 32.0}, 32_768),
        ({"rope_type": "default", "factor": 8.0}, 32_768),
        ({"type": "mrope", "mrope_section": [16, 24, 24]}, 32_768),
        ({"rope_type": "yarn", "factor": None}, 32_768),
        ({}, 32_768),
        (None, 32_768),
    ],
)
def test_a_stretched_rope(rope: Any, tokens: int) -> None:
    for key in ("rope_scaling", "rope_parameters"):
        assert model_from_fields("m", {**SMALL, key: rope}).max_context_tokens == tokens


def test_the_original_length_is_enough() -> None:
    rope = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}
    fields = {**SMALL, "max_position_embeddings": None, "rope_scaling": rope}
    assert model_from_fields("m", fields).max_context_tokens == 32_768
    fields["rope_scaling"] = {"type": "linear", "factor": 4.0}
    assert model_from_fields("m", fields).max_context_tokens is None


def test_a_window_is_compared_with_the_stretched_length() -> None:
    fields = {**SMALL, "use_sliding_window": True, "sliding_window": 32768}
    assert model_from_fields("m", fields).max_context_tokens == 32_768
    with pytest.raises(ProfileError, match="sliding_window 32768"):
        model_from_fields("m", {**fields, "rope_scaling": {"type": "linear", "factor": 2.0}})


def test_llama_3_1_is_as_long_as_it_says() -> None:
    assert model_from_config("llama-3.1-8b").max_context_tokens == 131_072


@pytest.mark.parametrize(
    ("rope", "said"),
    [
        ({"type": "yarn", "factor": "4"}, "factor is '4'"),
        ({"type": "yarn", "factor": -1}, "factor is -1"),
        ({"type": "yarn", "factor": True}, "factor is True"),
        ({"type": "yarn", "factor": float("nan")}, "factor is nan"),
        ({"type": "yarn", "factor": float("inf")}, "factor is inf"),
        ({"type": "yarn", "factor": 10**400}, "factor is 1000"),
        (
            {"type": "yarn", "factor": 4, "original_max_position_embeddings": [1]},
            r"original_max_position_embeddings is \[1\]",
        ),
        ("yarn", "rope_scaling is 'yarn': it must be an object"),
    ],
)
def test_a_bad_stretch_is_refused(rope: Any, said: str) -> None:
    with pytest.raises(ProfileError, match=said) as refusal:
        model_from_fields("m", {**SMALL, "rope_scaling": rope})
    assert "\n" not in str(refusal.value)
