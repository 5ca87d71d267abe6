"""Weights: by dice alike for a seed, from files complete or refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the backend needs torch")
pytest.importorskip("safetensors", reason="the backend needs safetensors")

import torch
from safetensors.torch import save_file
from torch import Tensor

from orbitflow.backend.model.architecture import read_architecture
from orbitflow.backend.model.checkpoint import LoadedModel, load_model
from orbitflow.backend.model.decoder import Decoder
from orbitflow.backend.model.weights import Weights, assemble, random_weights
from orbitflow.errors import ProfileError

CPU = torch.device("cpu")
CONFIG: dict[str, Any] = {
    "model_type": "qwen2",
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 50,
    "tie_word_embeddings": False,
    "dtype": "float32",
}


class Recorder:
    """A source that remembers what it was asked for."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def fill(self, name: str, target: Tensor) -> None:
        target.normal_()
        self.tensors[name] = target.clone()


def all_tensors(weights: Weights) -> list[Tensor]:
    layers = [getattr(layer, name) for layer in weights.layers for name in layer.__slots__]
    tensors = [weights.embedding, weights.norm, weights.head, *layers]
    return [tensor for tensor in tensors if tensor is not None]


def saved(folder: Path, **changes: Any) -> dict[str, Tensor]:
    """Write a model; return its tensors."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    recorder = Recorder()
    assemble(read_architecture(str(folder)), recorder, CPU)
    save_file(recorder.tensors, folder / "model.safetensors")
    return recorder.tensors


def load(folder: Path, **how: Any) -> LoadedModel:
    return load_model(str(folder), CPU, **how)


def refusal(folder: Path) -> str:
    with pytest.raises(ProfileError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("preset", ["tiny", "tiny-llama", "tiny-qwen3"])
def test_a_seed_fixes_the_weights(preset: str) -> None:
    architecture = read_architecture(preset)
    first, again, other = (random_weights(architecture, seed, CPU) for seed in (1, 1, 2))
    assert all(map(torch.equal, all_tensors(first), all_tensors(again)))
    assert not torch.equal(first.embedding, other.embedding)
    assert (first.head is first.embedding) == architecture.spec.tied_embeddings


def test_there_are_as_many_as_the_model_says() -> None:
    """tiny-llama has neither biases nor norms of heads, so the count is exact."""
    architecture = read_architecture("tiny-llama")
    tensors = all_tensors(random_weights(architecture, 0, CPU))
    assert sum(tensor.numel() for tensor in tensors) == architecture.spec.parameters


def test_a_bare_config_is_drawn_at_random(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    drawn = load_model(str(tmp_path / "config.json"), CPU, seed=4)
    assert drawn.folder is None
    again = load_model(str(tmp_path / "config.json"), CPU, seed=4)
    assert torch.equal(drawn.weights.head, again.weights.head)


def test_files_fill_every_tensor(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    loaded = load(tmp_path)
    attention = "model.layers.1.self_attn."
    parts = [tensors[f"{attention}{part}_proj.weight"] for part in "qkv"]
    assert torch.equal(loaded.weights.layers[1].qkv, torch.cat(parts))
    assert torch.equal(loaded.weights.head, tensors["lm_head.weight"])
    assert loaded.folder == tmp_path


def test_a_model_may_be_read_in_another_type(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    loaded = load(tmp_path, dtype="bfloat16")
    assert torch.equal(loaded.weights.norm, tensors["model.norm.weight"].bfloat16())
    assert Decoder(loaded.architecture, loaded.weights).dtype == torch.bfloat16


def test_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert "has no weights (model.safetensors): download them, or name" in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    assert "safe_serialization=True" in refusal(tmp_path)


def test_a_missing_tensor(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    assert "has no tensor model.layers.1.mlp.up_proj.weight" in refusal(tmp_path)


def test_a_wrong_shape_and_a_wrong_type(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    narrow = {**tensors, "lm_head.weight": torch.zeros(50, 31)}
    save_file(narrow, tmp_path / "model.safetensors")
    assert "has shape (50, 31), but config.json asks for (50, 32)" in refusal(tmp_path)
    whole = {**tensors, "lm_head.weight": torch.zeros(50, 32, dtype=torch.int8)}
    save_file(whole, tmp_path / "model.safetensors")
    assert "lm_head.weight is int8: take unquantised weights" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff" * 100])
def test_a_broken_file(tmp_path: Path, content: bytes) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    assert "download the file again" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("[]", "has no weight_map"),
        ("{", "is not JSON"),
        ('{"weight_map": {}}', "has no tensor model.embed_tokens.weight"),
        ('{"weight_map": {"model.embed_tokens.weight": "a.safetensors"}}', "a.safetensors"),
        ('{"weight_map": {"model.embed_tokens.weight": "../../etc/a"}}', "names a, which is not"),
    ],
)
def test_a_broken_index(tmp_path: Path, index: str, said: str) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert said in refusal(tmp_path)


def test_a_whole_file_counts_before_an_index_that_was_left_over(tmp_path: Path) -> None:
    saved(tmp_path)
    index = '{"weight_map": {"model.embed_tokens.weight": "gone.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(index)
    load_model(str(tmp_path), torch.device("cpu"))


def test_weights_that_are_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    os.mkfifo(tmp_path / "model.safetensors")
    assert "is a pipe" in refusal(tmp_path)
