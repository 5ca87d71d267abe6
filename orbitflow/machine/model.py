"""The shape of a dense decoder model, as far as memory and time depend on it.

    KV bytes per token = layers · 2 · kv_heads · head_dim · dtype_bytes

Parameters count embedding, head (unless tied), norms, attention and the gated MLP; the biases of
q, k and v and the norms of single heads (below 0.01 %) are left out. Read from the `config.json`
that Hugging Face models carry. Modelled is the dense decoder whose every layer keeps a key and a
value per token and KV head, for the whole context, with unquantised weights. What would be
mispriced is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from orbitflow.codec import Count, read_json
from orbitflow.errors import ProfileError, nearest

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_LIMIT = 2**31
MOST_LAYERS, MOST_ROW_BYTES = 10_000, 2**30  # far beyond any model
_SIZES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
}
_TIED_BY_DEFAULT = ("gemma", "cohere")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A dense decoder with grouped-query attention and a gated MLP."""

    name: str
    layers: Count
    hidden_size: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    intermediate_size: Count
    vocab_size: Count
    tied_embeddings: bool
    dtype_bytes: Count
    max_context_tokens: Count | None

    def __post_init__(self) -> None:
        if self.layers > MOST_LAYERS:
            raise ValueError(f"layers {self.layers}: must be at most {MOST_LAYERS:,}")
        if (row := self.kv_bytes_per_token_per_layer) > MOST_ROW_BYTES:
            raise ValueError(
                f"KV of a token in a layer is {row} bytes (2 x kv_heads x head_dim x dtype_bytes): "
                f"must be at most {MOST_ROW_BYTES:,}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads {self.kv_heads} must divide the {self.heads} heads")

    @property
    def kv_bytes_per_token_per_layer(self) -> int:
        """Bytes of one token's key and value in one layer."""
        return 2 * self.kv_heads * self.head_dim * self.dtype_bytes

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return self.layers * self.kv_bytes_per_token_per_layer

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer: q and o, k and v, gate, up and down, two norms."""
        attention = 2 * self.hidden_size * self.head_dim * (self.heads + self.kv_heads)
        mlp = 3 * self.hidden_size * self.intermediate_size
        return attention + mlp + 2 * self.hidden_size

    @property
    def head_parameters(self) -> int:
        """Weights used after the last layer: vocabulary matrix, tied or not, and the last norm."""
        return self.hidden_size * (self.vocab_size + 1)

    @property
    def parameters(self) -> int:
        """All weights, a tied vocabulary matrix counted once."""
        embedding = 0 if self.tied_embeddings else self.vocab_size * self.hidden_size
        return embedding + self.layers * self.layer_parameters + self.head_parameters

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return self.parameters * self.dtype_bytes

    def same_shape(self, other: ModelSpec) -> bool:
        """Say whether the two differ in nothing but name and longest context."""
        return self == replace(other, name=self.name, max_context_tokens=self.max_context_tokens)


def preset_names() -> list[str]:
    """List the built-in models."""
    return sorted(_presets())


def model_from_config(path_or_preset: str) -> ModelSpec:
    """Look up a preset, or read a Hugging Face `config.json` or a directory that holds one.

    >>> model_from_config("llama-3-8b").kv_bytes_per_token
    131072

    Raise a ProfileError if there is no such model, or if it is of a kind that is not modelled.
    """
    return model_from_fields(*read_config(path_or_preset))


def read_config(path_or_preset: str) -> tuple[str, Mapping[str, Any]]:
    """Return a model's name and the fields of its configuration, those of its text part first.

    Raise a ProfileError if there is no such model.
    """
    if path_or_preset in _presets():
        return path_or_preset, _presets()[path_or_preset]
    if not os.path.exists(path_or_preset):
        raise ProfileError(
            f"no model {path_or_preset!r}, neither a preset nor a config.json: "
            f"{nearest(path_or_preset, _presets())}"
        )
    path = path_or_preset
    if os.path.isdir(path):
        path = os.path.join(path, "config.json")
    config = read_json(path)
    if not isinstance(config, dict):
        raise ProfileError(f"{path} is no model configuration: it must be a JSON object")
    text = config.get("text_config")
    nested = text if isinstance(text, dict) else {}
    fields = {**config, **{key: value for key, value in nested.items() if value is not None}}
    return _name_of(path), fields


def _name_of(path: str) -> str:
    folder, file = os.path.split(os.path.abspath(path))
    stem = os.path.basename(folder) if file == "config.json" else os.path.splitext(file)[0]
    return stem or "model"


@cache
def _presets() -> dict[str, dict[str, Any]]:
    presets: dict[str, dict[str, Any]] = read_json(
        os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "models.json")
    )
    return presets


def model_from_fields(name: str, fields: Mapping[str, Any]) -> ModelSpec:
    """Read the shape from the fields of a `config.json`. Raise a ProfileError as above."""
    refuse_unmodelled(name, fields)
    if missing := [key for key in _SIZES.values() if fields.get(key) is None]:
        raise ProfileError(f"{name}: config.json lacks {', '.join(missing)}: add them")
    sizes = {ours: _size(name, fields, theirs) for ours, theirs in _SIZES.items()}
    try:
        return ModelSpec(
            name=name,
            **sizes,
            kv_heads=_size(name, fields, "num_key_value_heads", sizes["heads"]),
            head_dim=_head_dim(name, fields, sizes["hidden_size"], sizes["heads"]),
            tied_embeddings=_is_tied(name, fields),
            dtype_bytes=_dtype_bytes(name, fields),
            max_context_tokens=_size(name, fields, "max_position_embeddings", 0) or None,
        )
    except ValueError as refusal:
        raise ProfileError(f"{name}: {refusal}") from None


def _size(name: str, fields: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if type(value) is not int or not 0 < value <= _LIMIT:
        raise ProfileError(f"{name}: {key} is {value!r}: it must be a whole number of at least 1")
    return value


def _head_dim(name: str, fields: Mapping[str, Any], hidden_size: int, heads: int) -> int:
    if fields.get("head_dim") is None and hidden_size % heads:
        raise ProfileError(
            f"{name}: hidden_size {hidden_size} is no multiple of {heads} heads: give head_dim"
        )
    return _size(name, fields, "head_dim", hidden_size // heads)


def _is_tied(name: str, fields: Mapping[str, Any]) -> bool:
    value = fields.get("tie_word_embeddings")
    if value is None:
        return str(fields.get("model_type", "")).startswith(_TIED_BY_DEFAULT)
    if not isinstance(value, bool):
        raise ProfileError(f"{name}: tie_word_embeddings is {value!r}: it must be true or false")
    return value


def _dtype_bytes(name: str, fields: Mapping[str, Any]) -> int:
    """Bytes of one weight and of one KV number."""
    dtype = dtype_of(fields)
    if dtype not in DTYPE_BYTES:
        known = ", ".join(DTYPE_BYTES)
        raise ProfileError(f"{name}: dtype {dtype} is not modelled: use one of {known}")
    return DTYPE_BYTES[dtype]


def dtype_of(fields: Mapping[str, Any]) -> str:
    """The type of weights and KV; bfloat16 where nothing is said, as servers do."""
    dtype = str(fields.get("dtype") or fields.get("torch_dtype") or "bfloat16")
    return dtype.removeprefix("torch.")


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
