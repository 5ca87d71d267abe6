"""The shape of a dense decoder model, as far as memory and time depend on it.

    KV bytes per token = layers · 2 · kv_heads · head_dim · dtype_bytes
    on n GPUs            · max(1, n / kv_heads): a KV head that cannot be split is on several

Parameters count embedding, head (unless tied), attention, the gated MLP, norms and biases: all of
them. Read from the `config.json` that Hugging Face models carry. Modelled are the model types of
`decoder_types`; what would be mispriced is refused, see `unmodelled`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from orbitflow.codec import Count, read_json
from orbitflow.errors import ProfileError, nearest
from orbitflow.machine.context_length import longest_context_tokens
from orbitflow.machine.decoder_types import (
    DECODER_TYPES,
    Flag,
    Widths,
    says,
    type_name,
    vector_parameters,
)
from orbitflow.machine.unmodelled import refuse_quantised, refuse_unmodelled
from orbitflow.units import format_bytes

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_LIMIT = 2**31
_MOST_BYTES = 2**63
MOST_LAYERS, MOST_ROW_BYTES = 10_000, 2**30  # far beyond any model
_SIZES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
}
_INDEX = "model.safetensors.index.json"
_INDEX_SLACK = 0.1  # padding and buffers are less, a quantised matrix is more


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A dense decoder with grouped-query attention and a gated MLP.

    `layer_vector_parameters`: norms and biases of one layer; None: two norms and no biases.
    """

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
    layer_vector_parameters: Count | None = None

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

    def kv_copies(self, gpus: int) -> int:
        """How often each KV head is stored on `gpus` GPUs, each with its share of the heads."""
        return max(1, gpus // self.kv_heads)

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer: q and o, k and v, gate, up and down, norms and biases."""
        attention = 2 * self.hidden_size * self.head_dim * (self.heads + self.kv_heads)
        mlp = 3 * self.hidden_size * self.intermediate_size
        vectors = self.layer_vector_parameters
        return attention + mlp + (2 * self.hidden_size if vectors is None else vectors)

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
        """Say whether the two differ in nothing but name, longest context, norms and biases."""
        return self == replace(
            other,
            name=self.name,
            max_context_tokens=self.max_context_tokens,
            layer_vector_parameters=self.layer_vector_parameters,
        )


def preset_names() -> list[str]:
    """List the built-in models."""
    return sorted(_presets())


def model_from_config(path_or_preset: str) -> ModelSpec:
    """Look up a preset, or read a Hugging Face `config.json` or a directory that holds one.

    >>> model_from_config("llama-3-8b").kv_bytes_per_token
    131072

    Raise a ProfileError if there is no such model, or if it is of a kind that is not modelled.
    """
    spec = model_from_fields(*read_config(path_or_preset))
    if path_or_preset not in _presets():
        _compare_with_index(spec, _folder_of(path_or_preset))
    return spec


def read_config(path_or_preset: str) -> tuple[str, Mapping[str, Any]]:
    """Return a model's name and the fields of its configuration, those of its text part first.

    A text model in a wrapper of a type that is not known is of the wrapper's type. Raise a
    ProfileError if there is no such model, or if its weights are quantised by a file beside it.
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
    outer = config.get("model_type")
    if outer and str(outer) not in DECODER_TYPES:
        fields["model_type"] = outer
    name = _name_of(path)
    if (folder := _folder_of(path)) is not None:
        refuse_quantised(name, folder)
    return name, fields


def _folder_of(path: str) -> str | None:
    """The folder whose weights a config.json is of; None if the file goes by another name."""
    if os.path.isdir(path):
        return path
    folder, file = os.path.split(path)
    return folder or "." if file == "config.json" else None


def _compare_with_index(spec: ModelSpec, folder: str | None) -> None:
    """Raise a ProfileError if an index of weights beside the config.json is of other weights."""
    path = "" if folder is None else os.path.join(folder, _INDEX)
    if not os.path.isfile(path):
        return
    index = read_json(path)
    said = index.get("metadata") if isinstance(index, dict) else None
    told = said.get("total_size") if isinstance(said, dict) else None
    if isinstance(told, bool) or not isinstance(told, int | float):
        return
    if not 0 < told < _MOST_BYTES:
        raise ProfileError(
            f"{path}: total_size is {told!r:.60}: it must be the bytes of all weights"
        )
    twice = spec.vocab_size * spec.hidden_size * spec.dtype_bytes if spec.tied_embeddings else 0
    least, most = spec.weight_bytes, spec.weight_bytes + twice
    if not least * (1 - _INDEX_SLACK) <= told <= most * (1 + _INDEX_SLACK):
        raise ProfileError(
            f"{spec.name}: {_INDEX} says {told:.4g} bytes of weights, config.json makes "
            f"{format_bytes(least)} ({least:.4g}): quantised or additional weights are not "
            "modelled; state the dtype that the files have"
        )


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
    longest = longest_context_tokens(
        name, fields, _size(name, fields, "max_position_embeddings", 0) or None
    )
    refuse_unmodelled(name, fields, longest)
    if missing := [key for key in _SIZES.values() if fields.get(key) is None]:
        raise ProfileError(f"{name}: config.json lacks {', '.join(missing)}: add them")
    sizes = {ours: _size(name, fields, theirs) for ours, theirs in _SIZES.items()}
    kind, hidden, heads = DECODER_TYPES[type_name(fields)], sizes["hidden_size"], sizes["heads"]
    kv_heads = _size(name, fields, "num_key_value_heads", kind.kv_heads or heads)
    d = _head_dim(name, fields, hidden, heads)
    widths = Widths(hidden, heads * d, kv_heads * d, d, sizes["intermediate_size"])
    vectors = vector_parameters(name, fields, widths)
    try:
        return ModelSpec(
            name=name,
            **sizes,
            kv_heads=kv_heads,
            head_dim=d,
            tied_embeddings=says(name, fields, Flag("tie_word_embeddings", kind.tied)),
            dtype_bytes=_dtype_bytes(name, fields),
            max_context_tokens=longest,
            layer_vector_parameters=None if vectors == 2 * hidden else vectors,
        )
    except ValueError as refusal:
        raise ProfileError(f"{name}: {refusal}") from None


def _size(name: str, fields: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if type(value) is not int or not 0 < value <= _LIMIT:
        raise ProfileError(
            f"{name}: {key} is {value!r:.60}: it must be a whole number of at least 1"
        )
    return value


def _head_dim(name: str, fields: Mapping[str, Any], hidden_size: int, heads: int) -> int:
    default = DECODER_TYPES[type_name(fields)].head_dim
    if fields.get("head_dim") is None and default is None and hidden_size % heads:
        raise ProfileError(
            f"{name}: hidden_size {hidden_size} is no multiple of {heads} heads: give head_dim"
        )
    return _size(name, fields, "head_dim", default or hidden_size // heads)


def _dtype_bytes(name: str, fields: Mapping[str, Any]) -> int:
    """Bytes of one weight and of one KV number."""
    dtype = dtype_of(fields)
    if dtype not in DTYPE_BYTES:
        known = ", ".join(DTYPE_BYTES)
        raise ProfileError(f"{name}: dtype {dtype[:60]} is not modelled: use one of {known}")
    return DTYPE_BYTES[dtype]


def dtype_of(fields: Mapping[str, Any]) -> str:
    """The type of weights and KV; bfloat16 where nothing is said, as servers do."""
    dtype = str(fields.get("dtype") or fields.get("torch_dtype") or "bfloat16")
    return dtype.removeprefix("torch.")
