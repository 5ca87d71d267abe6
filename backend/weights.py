"""The tensors of a decoder, fused as they are multiplied: Q, K and V in one, Gate and Up in one.

    qkv = [Q; K; V]   ((H + 2 Hkv) d, D)        gate_up = [Gate; Up]   (2 I, D)

Every part is filled from a source under its Hugging Face name, be it a checkpoint or a dice. Few
wide products read the same bytes in fewer kernels than many narrow ones (as vLLM and nano-vllm do).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from orbitflow.backend.model.architecture import Architecture
from torch import Tensor

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class TensorSource(Protocol):
    """Where weights come from."""

    def fill(self, name: str, target: Tensor) -> None:
        """Write the tensor of that Hugging Face name into `target`, which has its shape."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One block. Shapes in terms of hidden size D, heads H and Hkv of size d, MLP width I."""

    input_norm: Tensor  # (D)
    qkv: Tensor  # ((H + 2 Hkv) d, D)
    qkv_bias: Tensor | None  # ((H + 2 Hkv) d)
    q_norm: Tensor | None  # (d)
    k_norm: Tensor | None  # (d)
    output: Tensor  # (D, H d)
    mlp_norm: Tensor  # (D)
    gate_up: Tensor  # (2 I, D)
    down: Tensor  # (D, I)


@dataclass(frozen=True, slots=True)
class Weights:
    """All of them; a tied `head` is the embedding itself."""

    embedding: Tensor  # (V, D)
    layers: tuple[LayerWeights, ...]
    norm: Tensor  # (D)
    head: Tensor  # (V, D)


def assemble(architecture: Architecture, source: TensorSource, device: torch.device) -> Weights:
    """Allocate every tensor on `device` and fill it from the source."""
    spec, dtype = architecture.spec, DTYPES[architecture.dtype]

    def take(shape: tuple[int, ...], *parts: tuple[str, int]) -> Tensor:
        whole = torch.empty(shape, dtype=dtype, device=device)
        sizes = [rows for _, rows in parts]
        for (name, _), part in zip(parts, torch.split(whole, sizes), strict=True):
            source.fill(name, part)
        return whole

    def layer(index: int) -> LayerWeights:
        prefix, width, d = f"model.layers.{index}", spec.hidden_size, spec.head_dim
        at, mlp, family = f"{prefix}.self_attn", f"{prefix}.mlp", architecture.family
        q, kv, inner = spec.heads * d, spec.kv_heads * d, spec.intermediate_size
        qkv = [(f"{at}.q_proj", q), (f"{at}.k_proj", kv), (f"{at}.v_proj", kv)]
        weights = [(f"{name}.weight", rows) for name, rows in qkv]
        biases = [(f"{name}.bias", rows) for name, rows in qkv]
        gate_up = [(f"{mlp}.gate_proj.weight", inner), (f"{mlp}.up_proj.weight", inner)]
        return LayerWeights(
            input_norm=take((width,), (f"{prefix}.input_layernorm.weight", width)),
            qkv=take((q + 2 * kv, width), *weights),
            qkv_bias=take((q + 2 * kv,), *biases) if family.qkv_bias else None,
            q_norm=take((d,), (f"{at}.q_norm.weight", d)) if family.head_norms else None,
            k_norm=take((d,), (f"{at}.k_norm.weight", d)) if family.head_norms else None,
            output=take((width, q), (f"{at}.o_proj.weight", width)),
            mlp_norm=take((width,), (f"{prefix}.post_attention_layernorm.weight", width)),
            gate_up=take((2 * inner, width), *gate_up),
            down=take((width, inner), (f"{mlp}.down_proj.weight", width)),
        )

    vocabulary = (spec.vocab_size, spec.hidden_size)
    embedding = take(vocabulary, ("model.embed_tokens.weight", spec.vocab_size))
    tied = spec.tied_embeddings
    return Weights(
        embedding=embedding,
        layers=tuple(layer(index) for index in range(spec.layers)),
        norm=take((spec.hidden_size,), ("model.norm.weight", spec.hidden_size)),
        head=embedding if tied else take(vocabulary, ("lm_head.weight", spec.vocab_size)),
    )
