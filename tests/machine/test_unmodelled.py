"""Configurations that would be mispriced: each is refused in one line that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orbitflow.errors import ProfileError
from orbitflow.machine.decoder_types import DECODER_TYPES
from orbitflow.machine.model import model_from_config, model_from_fields

SMALL: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 100,
}
WEIGHT_BYTES = 2 * (2 * 100 * 64 + 64 + 2 * (4 * 64 * 64 + 3 * 64 * 96 + 2 * 64))


def write(folder: Path, **changes: Any) -> str:
    (folder / "config.json").write_text(json.dumps({**SMALL, **changes}))
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "arcee", "hidden_act": "relu2"}, "an MLP without a gate"),
        ({"model_type": "nemotron"}, "an MLP without a gate"),
        ({"model_type": "falcon"}, "an MLP without a gate"),
        ({"model_type": "lfm2", "full_attn_idxs": [1]}, r"a convolution layer \(full_attn_idxs\)"),
        ({"model_type": "lfm2"}, r"a convolution layer \(model_type lfm2\)"),
        ({"model_type": "bert"}, "an encoder without a KV cache"),
        ({"model_type": "xlm-roberta"}, "an encoder without a KV cache"),
        ({"model_type": "electra"}, "an encoder without a KV cache"),
        ({"model_type": "t5"}, "an encoder beside the decoder"),
        ({"model_type": "qwen"}, "an MLP of half the stated width"),
        ({"model_type": "mixtral"}, "mixture of experts"),
        ({"model_type": "deepseek_v3"}, "multi-head latent attention"),
        ({"model_type": "mamba2"}, "a state-space layer"),
        ({"model_type": "gemma3n"}, "KV shared between layers"),
        ({"use_cla": True}, r"KV shared between layers \(use_cla\)"),
        ({"num_kv_shared_layers": 1}, r"KV shared between layers \(num_kv_shared_layers\)"),
        ({"num_nextn_predict_layers": 1}, "an additional layer that drafts tokens"),
        ({"block_configs": [{}]}, "a layer unlike the others"),
        ({"model_type": "gemma2"}, "sliding-window attention"),
        ({"model_type": "qwen2_5_vl"}, r"a vision tower \(model_type qwen2_5_vl\)"),
        ({"vision_config": {}}, r"a vision tower \(vision_config\)"),
        ({"audio_config": {"depth": 3}}, r"an audio tower \(audio_config\)"),
        ({"quantization": {"bits": 4}}, r"quantised weights \(quantization\)"),
        ({"compression_config": {}}, "quantised weights"),
        ({"architectures": ["MistralModel"]}, "does not generate text.*MistralModel"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "does not generate text"),
        ({"architectures": ["ArceeForCausalLM"], "model_type": None}, "without a model_type"),
        ({"model_type": "llamb"}, "model type 'llamb' is not known: use one of llama, mistral"),
        ({"model_type": ["llama"]}, "is not known"),
        ({"model_type": "a\nb\x1b[0m" * 99}, "is not known"),
    ],
)
def test_each_kind_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileError, match=said) as refusal:
        model_from_config(write(tmp_path, **changes))
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


def test_what_is_at_rest_is_no_reason() -> None:
    resting = {
        **{
            "use_cla": False,
            "cla_share_factor": 2,
            "num_kv_shared_layers": 0,
            "quantization": None,
        },
        **{"num_nextn_predict_layers": 0, "vision_config": None, "add_cross_attention": False},
    }
    assert model_from_fields("m", {**SMALL, **resting}) == model_from_fields("m", SMALL)


def test_a_text_model_in_a_wrapper_is_not_the_wrapper(tmp_path: Path) -> None:
    """The outer type has weights of its own, even where the file leaves their shape out."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava", "text_config": SMALL}))
    with pytest.raises(ProfileError, match=r"a vision tower \(model_type llava\)"):
        model_from_config(str(tmp_path))
    encoder = {"model_type": "llama", "text_config": {**SMALL, "model_type": "bert"}}
    (tmp_path / "config.json").write_text(json.dumps(encoder))
    with pytest.raises(ProfileError, match="an encoder"):
        model_from_config(str(tmp_path))
    for outside in ({}, {"model_type": "qwen2"}):
        (tmp_path / "config.json").write_text(json.dumps({**outside, "text_config": SMALL}))
        assert model_from_config(str(tmp_path)).layer_vector_parameters is None


@pytest.mark.parametrize(
    "file", ["hf_quant_config.json", "quantize_config.json", "quant_config.json"]
)
def test_quantised_weights_are_seen_beside_the_config(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text('{"quantization": {"quant_algo": "FP8"}}')
    for path in (write(tmp_path), str(tmp_path / "config.json")):
        with pytest.raises(ProfileError, match=rf"quantised weights \({file}\)"):
            model_from_config(path)
    (tmp_path / "alone.json").write_text(json.dumps(SMALL))
    assert model_from_config(str(tmp_path / "alone.json")).weight_bytes == WEIGHT_BYTES


@pytest.mark.parametrize("share", [1.0, 1.05, 0.95, None, "8", True])
def test_an_index_of_these_weights_says_nothing(tmp_path: Path, share: object) -> None:
    told = round(WEIGHT_BYTES * share) if type(share) is float else share
    index = {"metadata": {"total_size": told}, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert model_from_config(write(tmp_path)).weight_bytes == WEIGHT_BYTES


@pytest.mark.parametrize("share", [0.28, 0.52, 1.3, 2.0])
def test_an_index_of_other_weights_is_told(tmp_path: Path, share: float) -> None:
    """A tied matrix that is stored twice is no other weight."""
    index = {"metadata": {"total_size": round(WEIGHT_BYTES * share)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ProfileError, match=r"index\.json says .* bytes") as refusal:
        model_from_config(write(tmp_path))
    assert "\n" not in str(refusal.value)
    index = {"metadata": {"total_size": WEIGHT_BYTES}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert model_from_config(write(tmp_path, tie_word_embeddings=True)).tied_embeddings


@pytest.mark.parametrize("told", ["1e999", "-5", "0", "NaN", "1" + "0" * 400])
def test_an_index_of_no_size_is_refused(tmp_path: Path, told: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(f'{{"metadata": {{"total_size": {told}}}}}')
    with pytest.raises(ProfileError, match=r"index\.json") as refusal:
        model_from_config(write(tmp_path))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("key", ["dtype", "hidden_size", "rope_scaling", "sliding_window"])
def test_a_long_value_is_shown_in_part(tmp_path: Path, key: str) -> None:
    with pytest.raises(ProfileError, match=key) as refusal:
        model_from_config(write(tmp_path, **{key: "x" * 9999}))
    assert len(str(refusal.value)) < 400


def test_the_documents_name_every_type() -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    assert [kind for kind in DECODER_TYPES if f"`{kind}`" not in text] == []
