"""The differences between Llama-like families, read from a Hugging Face `config.json`. No torch.

    block:  h += O · attention(rope(norm_q(Q x)), rope(norm_k(K x)), V x),  x = rmsnorm(h)
            h += Down · (silu(Gate y) ∘ (Up y)),                            y = rmsnorm(h)

Llama and Mistral have neither biases nor norms of heads. Qwen2 adds biases to Q, K and V. Qwen3
norms each head of Q and K. (Touvron et al. 2023; Qwen technical reports 2024 and 2025.) A model
that this block does not compute exactly is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from orbitflow.errors import ProfileError
from orbitflow.machine.context_length import rope_fields
from orbitflow.machine.decoder_types import type_name
from orbitflow.machine.model import DTYPE_BYTES, ModelSpec, dtype_of, model_from_fields, read_config


class ModelFamily(NamedTuple):
    """Additions of a family to the plain block."""

    qkv_bias: bool = False
    head_norms: bool = False


FAMILIES = {
    "llama": ModelFamily(),
    "mistral": ModelFamily(),
    "qwen2": ModelFamily(qkv_bias=True),
    "qwen3": ModelFamily(head_norms=True),
}
_NOT_COMPUTED = {
    "attention_bias": "biases in attention",
    "mlp_bias": "biases in the MLP",
    "logits_soft_cap": "a cap on logits",
    "final_logit_softcapping": "a cap on logits",
}


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Slow rotations are divided by `factor`, fast ones are kept, those between are blended."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context_tokens: int


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary embedding: the base of its frequencies, their divisor and Llama 3's scaling."""

    theta: float
    factor: float = 1.0
    llama3: Llama3Scaling | None = None


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder that the backend can compute."""

    spec: ModelSpec
    family: ModelFamily
    rope: Rope
    norm_eps: float
    dtype: str

    def with_dtype(self, dtype: str) -> Architecture:
        """Compute and keep KV in another type. Raise a ProfileError for an unknown type."""
        if dtype not in DTYPE_BYTES:
            known = ", ".join(DTYPE_BYTES)
            raise ProfileError(f"dtype {dtype} is not supported: use one of {known}")
        spec = replace(self.spec, dtype_bytes=DTYPE_BYTES[dtype])
        return replace(self, spec=spec, dtype=dtype)


def read_architecture(path_or_preset: str) -> Architecture:
    """Look up a preset, or read a `config.json` or a directory that holds one.

    >>> read_architecture("qwen3-8b").family
    ModelFamily(qkv_bias=False, head_norms=True)

    Raise a ProfileError if there is no such model, or if the backend cannot compute it.
    """
    name, fields = read_config(path_or_preset)
    kind = type_name(fields)
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ProfileError(f"{name}: the backend has no {kind[:60]} models: take one of {known}")
    spec = model_from_fields(name, fields)
    for said in _not_computed(fields):
        raise ProfileError(f"{name}: the backend does not compute {said}: take another model")
    if spec.head_dim % 2:
        raise ProfileError(f"{name}: head_dim {spec.head_dim} is odd: rope needs an even one")
    return Architecture(
        spec=spec,
        family=FAMILIES[kind],
        rope=_rope(name, fields),
        norm_eps=_number(name, fields, "rms_norm_eps", 1e-6),
        dtype=dtype_of(fields),
    )


def _not_computed(fields: Mapping[str, Any]) -> Iterator[str]:
    for key, said in _NOT_COMPUTED.items():
        if fields.get(key):
            yield f"{said} ({key})"
    if fields.get("hidden_act", "silu") not in ("silu", "swish"):
        yield f"hidden_act {fields['hidden_act']}"
    if fields.get("partial_rotary_factor") not in (None, 1, 1.0):
        yield f"partial_rotary_factor {fields['partial_rotary_factor']}"


def _rope(name: str, fields: Mapping[str, Any]) -> Rope:
    """Read `rope_theta` and `rope_scaling`, or `rope_parameters`, which newer files have."""
    told = rope_fields(name, fields)
    theta = _number(name, {**fields, **told}, "rope_theta", 10_000.0)
    kind = str(told.get("rope_type") or told.get("type") or "default")
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, factor=_number(name, told, "factor"))
    if kind != "llama3":
        raise ProfileError(
            f"{name}: rope scaling {kind} is not supported: use default, linear or llama3"
        )
    scaling = Llama3Scaling(
        factor=_number(name, told, "factor"),
        low_freq_factor=_number(name, told, "low_freq_factor"),
        high_freq_factor=_number(name, told, "high_freq_factor"),
        original_context_tokens=int(_number(name, told, "original_max_position_embeddings")),
    )
    if scaling.high_freq_factor <= scaling.low_freq_factor:
        raise ProfileError(
            f"{name}: high_freq_factor {scaling.high_freq_factor:g} must exceed "
            f"low_freq_factor {scaling.low_freq_factor:g}: mend rope_scaling"
        )
    return Rope(theta, llama3=scaling)


def _number(name: str, fields: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = fields.get(key, default)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ProfileError(f"{name}: {key} is {value!r}: it must be a number above zero")
    return float(value)
