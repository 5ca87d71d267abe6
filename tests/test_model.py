"""Models: sizes worked out by hand, configs of Hugging Face read, all else refused in a line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from orbitflow.machine.model import model_from_config, preset_names

from orbitflow.errors import ProfileError

SMALL: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 100,
}


def write(folder: Path, **changes: Any) -> str:
    """Write a config.json like SMALL; a change to None removes nothing, it writes null."""
    (folder / "config.json").write_text(json.dumps({**SMALL, **changes}))
    return str(folder)


def test_llama_3_8b_by_hand() -> None:
    """KV: 2 x 8 heads x 128 x 2 B = 4,096 B a layer, x 32 = 131,072 B.

    A layer: q and o 2 x 4096 x 4096 = 33,554,432; k and v 2 x 4096 x 1024 = 8,388,608;
    MLP 3 x 4096 x 14336 = 176,160,768; norms 8,192: together 218,112,000.
    All: 32 x 218,112,000 + 2 x 128256 x 4096 + 4096 = 8,030,261,248.
    """
    model = model_from_config("llama-3-8b")
    assert model.kv_bytes_per_token_per_layer == 4_096
    assert model.kv_bytes_per_token == 131_072
    assert model.layer_parameters == 218_112_000
    assert model.head_parameters == 128256 * 4096 + 4096
    assert model.parameters == 8_030_261_248
    assert model.weight_bytes == 16_060_522_496


@pytest.mark.parametrize(
    ("preset", "billions", "kv_bytes"),
    [
        ("llama-2-7b", 6.738, 524_288),
        ("llama-3-70b", 70.554, 327_680),
        ("llama-3.1-8b", 8.030, 131_072),
        ("llama-3.1-70b", 70.554, 327_680),
        ("mistral-7b", 7.248, 131_072),
        ("qwen2.5-7b", 7.616, 57_344),
        ("qwen2.5-32b", 32.764, 262_144),
        ("qwen3-8b", 8.191, 147_456),
    ],
)
def test_presets_have_the_published_number_of_parameters(
    preset: str, billions: float, kv_bytes: int
) -> None:
    """The counts on the model cards, biases included there: equal to 0.01 %."""
    model = model_from_config(preset)
    assert model.parameters / 1e9 == pytest.approx(billions, rel=1.5e-4)
    assert model.kv_bytes_per_token == kv_bytes


def test_tied_embeddings_count_once_but_the_head_stays() -> None:
    """tiny: 2048 x 256 weights serve as embedding and head."""
    tiny = model_from_config("tiny")
    untied = replace(tiny, tied_embeddings=False)
    assert untied.parameters - tiny.parameters == 2048 * 256
    assert untied.head_parameters == tiny.head_parameters


def test_every_preset_is_named_after_itself() -> None:
    assert [model_from_config(name).name for name in preset_names()] == preset_names()


def test_defaults_of_a_config(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    model = model_from_config(write(folder))
    assert (model.name, model.kv_heads, model.head_dim) == ("my-model", 4, 16)
    assert (model.dtype_bytes, model.tied_embeddings, model.max_context_tokens) == (2, False, None)
    assert model_from_config(str(folder / "config.json")) == model


def test_a_file_of_another_name_names_the_model(tmp_path: Path) -> None:
    path = tmp_path / "house.json"
    path.write_text(json.dumps(SMALL))
    assert model_from_config(str(path)).name == "house"


def test_nested_text_config_wins_and_the_outside_fills_gaps(tmp_path: Path) -> None:
    text = {**SMALL, "num_hidden_layers": 7, "dtype": None}
    (tmp_path / "config.json").write_text(
        json.dumps({"text_config": text, "hidden_size": 9, "dtype": "float32"})
    )
    model = model_from_config(str(tmp_path))
    assert (model.layers, model.hidden_size, model.dtype_bytes) == (7, 64, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": None, "layer_types": ["sliding_attention", "full_attention"]},
        {"sliding_window": 32, "use_sliding_window": False},
        {"sliding_window": 32, "layer_types": ["full_attention", "full_attention"]},
        {"sliding_window": 4096, "max_position_embeddings": 4096},
        {"num_experts": 0, "num_local_experts": 1, "kv_lora_rank": None},
        {"torch_dtype": "torch.float16"},
        {"dtype": "float16"},
        {"num_key_value_heads": None, "head_dim": None},
    ],
)
def test_harmless_fields_are_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain = tmp_path / "model"
    plain.mkdir()
    read = model_from_config(write(plain, **changes))
    assert read.same_shape(model_from_config(write(plain)))


def test_gemma_ties_its_embeddings_without_saying_so(tmp_path: Path) -> None:
    assert model_from_config(write(tmp_path, model_type="gemma")).tied_embeddings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_experts": 8}, r"mixture of experts \(num_experts\)"),
        ({"n_routed_experts": 64}, r"mixture of experts \(n_routed_experts\)"),
        ({"num_local_experts": 8}, r"mixture of experts \(num_local_experts\)"),
        ({"kv_lora_rank": 512}, "multi-head latent attention"),
        ({"quantization_config": {"bits": 4}}, "quantised weights"),
        ({"is_encoder_decoder": True}, "an encoder"),
        ({"cross_attention_layers": [1]}, "cross attention"),
        ({"state_size": 16}, "state-space"),
        ({"model_type": "gpt_neox"}, "without a gate"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "layer of type linear_attention"),
        ({"sliding_window": 32}, "sliding_window 32"),
        ({"sliding_window": 32, "use_sliding_window": True}, "sliding_window 32"),
        ({"sliding_window": 32, "layer_types": ["sliding_attention"]}, "sliding_window 32"),
        ({"sliding_window": 32, "max_position_embeddings": 64}, "sliding_window 32"),
        ({"torch_dtype": "float8_e4m3fn"}, "dtype float8_e4m3fn"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"hidden_size": -64}, "hidden_size is -64"),
        ({"vocab_size": 1.5}, "vocab_size is 1.5"),
        ({"intermediate_size": "96"}, "intermediate_size is '96'"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
        ({"max_position_embeddings": -1}, "max_position_embeddings is -1"),
        ({"hidden_size": 2**40}, "hidden_size is 1099511627776"),
        ({"num_key_value_heads": 3}, "kv_heads 3 must divide the 4 heads"),
        ({"num_attention_heads": 5}, "give head_dim"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'"),
        ({"vocab_size": None}, "lacks vocab_size"),
    ],
)
def test_what_is_not_modelled_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProfileError, match=said) as refusal:
        model_from_config(write(tmp_path, **changes))
    assert "\n" not in str(refusal.value)


def test_all_missing_fields_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"n_layer": 12, "hidden_size": 768}')
    with pytest.raises(ProfileError) as refusal:
        model_from_config(str(tmp_path))
    for key in ("num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"):
        assert key in str(refusal.value)


@pytest.mark.parametrize("text", ["[1]", '"llama"', "3"])
def test_a_config_must_be_an_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ProfileError, match="must be a JSON object"):
        model_from_config(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ProfileError, match=r"config\.json is not JSON"):
        model_from_config(str(tmp_path))


def test_a_directory_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="No such file"):
        model_from_config(str(tmp_path))


@pytest.mark.parametrize("name", ["lama-3-8b", ""])
def test_unknown_names_come_with_known_ones(name: str) -> None:
    with pytest.raises(ProfileError, match="llama-3-8b"):
        model_from_config(name)


def test_same_shape_looks_past_name_and_longest_context() -> None:
    model = model_from_config("llama-3-8b")
    assert model.same_shape(model_from_config("llama-3.1-8b"))
    assert not model.same_shape(model_from_config("qwen3-8b"))
    assert not model.same_shape(replace(model, dtype_bytes=4))
