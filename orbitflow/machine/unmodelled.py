"""Models that OrbitFlow would misprice, and so refuses: one row for each kind, found by its config.

Modelled is the dense decoder whose every layer keeps a key and a value per token and KV head, for
the whole context, with a gated MLP and unquantised weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orbitflow.errors import ProfileError

_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
_STATE_SPACE = ("state_size", "ssm_state_size", "mamba_d_state", "hybrid_override_pattern")
_UNGATED = ("gpt_neox", "nemotron", "opt", "phi", "starcoder2")
_FULL = "full_attention"
_SLIDING = "sliding_attention"


def refuse_unmodelled(name: str, fields: Mapping[str, Any]) -> None:
    """Raise a ProfileError if the config `fields` are of a kind that is not modelled."""
    for kind in _unmodelled(fields):
        raise ProfileError(
            f"{name}: {kind} is not modelled: use a dense model with full attention in every layer"
        )


def _unmodelled(fields: Mapping[str, Any]) -> Iterator[str]:
    for key in _EXPERTS:
        if fields.get(key) not in (None, 0, 1):
            yield f"mixture of experts ({key})"
    for key in _STATE_SPACE:
        if fields.get(key) is not None:
            yield f"a state-space layer ({key})"
    if fields.get("kv_lora_rank") is not None:
        yield "multi-head latent attention (kv_lora_rank)"
    if fields.get("quantization_config") is not None:
        yield "quantised weights (quantization_config)"
    if fields.get("is_encoder_decoder"):
        yield "an encoder (is_encoder_decoder)"
    if fields.get("cross_attention_layers"):
        yield "cross attention (cross_attention_layers)"
    if fields.get("model_type") in _UNGATED:
        yield f"an MLP without a gate (model_type {fields['model_type']})"
    for kind in sorted(_layer_types(fields) - {_FULL, _SLIDING}):
        yield f"a layer of type {kind} (layer_types)"
    if _slides(fields):
        yield f"sliding-window attention (sliding_window {fields['sliding_window']})"


def _layer_types(fields: Mapping[str, Any]) -> set[str]:
    types = fields.get("layer_types")
    return set(map(str, types)) if isinstance(types, list) else set()


def _slides(fields: Mapping[str, Any]) -> bool:
    """Say whether a window is at work: set, not switched off, and shorter than the context."""
    window, longest = fields.get("sliding_window"), fields.get("max_position_embeddings")
    if not window or fields.get("use_sliding_window") is False:
        return False
    if _layer_types(fields) == {_FULL}:
        return False
    return not (isinstance(window, int) and isinstance(longest, int) and window >= longest)
