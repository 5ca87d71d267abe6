"""Every family against `transformers` with the same random weights, by way of files on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from reference.decoding import generate

from orbitflow.backend.model.checkpoint import load_model
from orbitflow.backend.model.decoder import Decoder

torch.set_num_threads(1)
transformers: Any = pytest.importorskip("transformers", reason="nothing to compare with")

CPU = torch.device("cpu")
PROMPT, STEPS = 90, 28
MARGIN = 1e-3  # where the two best tokens are nearer, either may win
SHAPE = {
    "num_hidden_layers": 3,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 131,
    "max_position_embeddings": 256,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 48,
}
CASES: dict[str, dict[str, Any]] = {
    "llama": {"rms_norm_eps": 1e-5},
    "llama one kv head": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "llama all kv heads": {"num_key_value_heads": 4, "head_dim": 24},
    "llama 3.1": {"rope_parameters": LLAMA3},
    "llama linear": {
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    },
    "mistral": {"sliding_window": None, "head_dim": 32},
    "qwen2": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "qwen3": {"head_dim": 32, "tie_word_embeddings": True},
}


def theirs(case: str) -> Any:
    """Their model with every parameter drawn, norms and biases too."""
    torch.manual_seed(11)
    config = transformers.AutoConfig.for_model(case.split()[0], **{**SHAPE, **CASES[case]})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
            else:
                parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
    return model


@pytest.mark.parametrize("case", CASES)
def test_same_tokens_and_logits(case: str, tmp_path: Path) -> None:
    model = theirs(case)
    model.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), CPU)
    prompt = torch.randint(0, SHAPE["vocab_size"], (PROMPT,)).tolist()
    text = generate(Decoder(loaded.architecture, loaded.weights), prompt, STEPS)
    with torch.no_grad():
        whole = model(torch.tensor([text.tokens[:-1]])).logits[0, PROMPT - 1 :]
    torch.testing.assert_close(torch.stack(text.logits), whole, atol=1e-4, rtol=0)
    best = whole.topk(2).values
    sure = best[:, 0] - best[:, 1] > MARGIN
    assert sure.sum() >= STEPS - 2
    assert torch.equal(torch.tensor(text.tokens[PROMPT:])[sure], whole.argmax(-1)[sure])
    assert len(set(text.tokens[PROMPT:])) > 3, "a model that repeats itself proves little"


def test_same_text_as_their_generate(tmp_path: Path) -> None:
    model = theirs("llama 3.1")
    model.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), CPU)
    prompt = list(range(40, 80))
    ids = torch.tensor([prompt])
    told = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=STEPS, min_new_tokens=STEPS,
        do_sample=False, pad_token_id=0,
    )  # fmt: skip
    text = generate(Decoder(loaded.architecture, loaded.weights), prompt, STEPS)
    assert text.tokens == told[0].tolist()


def test_sharded_weights_are_the_same(tmp_path: Path) -> None:
    model = theirs("qwen2")
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    whole, shards = (load_model(str(tmp_path / n), CPU).weights for n in ("whole", "shards"))
    assert torch.equal(whole.head, shards.head)
    for one, other in zip(whole.layers, shards.layers, strict=True):
        assert torch.equal(one.qkv, other.qkv)
        assert torch.equal(one.gate_up, other.gate_up)
