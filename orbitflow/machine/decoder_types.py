"""The model types that are priced right: what each adds to the plain block, and its defaults.

    plain layer    q, k, v, o without biases; gate, up, down without biases; two norms of width D
    vectors        norms · D + norms of heads + biases of q, k, v (q + 2 kv), of o (D),
                   of gate, up and down (2 I + D)

q and kv are the widths heads · head_dim and kv_heads · head_dim. A type is the `model_type` of a
Hugging Face `config.json`; files leave out what is at the default of the type's class. Structure
and defaults are those of the classes in transformers 5.23, with which the tests compare every
count; InternLM2's are those of the code published with the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from orbitflow.errors import ProfileError

PLAIN = "llama"


class Flag(NamedTuple):
    """A yes or no: the key that says it, and what holds where it says nothing."""

    key: str | None
    default: bool


NEVER = Flag(None, False)
ALWAYS = Flag(None, True)


class HeadNorm(Enum):
    """The weights of the norms of q and k."""

    NONE = "no such norms"
    SHARED = "one vector of head_dim for all heads of q, one for those of k"
    OWN = "a weight for every number of q and k"


class DecoderType(NamedTuple):
    """How a type differs from the plain block. The last five are defaults of its class."""

    norms: int = 2
    head_norm: HeadNorm = HeadNorm.NONE
    has_head_norm: Flag = ALWAYS
    qkv_bias: Flag = NEVER
    output_bias: Flag = NEVER
    mlp_bias: Flag = NEVER
    tied: bool = False
    kv_heads: int | None = None
    head_dim: int | None = None
    window_tokens: int | None = None
    slides: Flag = ALWAYS


_ATTENTION = Flag("attention_bias", False)
_MLP = Flag("mlp_bias", False)
_USE = Flag("use_bias", False)
_GLM = DecoderType(qkv_bias=Flag("attention_bias", True), kv_heads=2, head_dim=128)
_SWITCHED = Flag("use_sliding_window", False)

DECODER_TYPES: Mapping[str, DecoderType] = {
    "llama": DecoderType(qkv_bias=_ATTENTION, output_bias=_ATTENTION, mlp_bias=_MLP),
    "mistral": DecoderType(kv_heads=8, window_tokens=4096),
    "ministral3": DecoderType(kv_heads=8, head_dim=128),
    "qwen2": DecoderType(qkv_bias=ALWAYS, slides=_SWITCHED),
    "qwen3": DecoderType(
        head_norm=HeadNorm.SHARED,
        qkv_bias=_ATTENTION,
        output_bias=_ATTENTION,
        head_dim=128,
        slides=_SWITCHED,
    ),
    "gemma": DecoderType(qkv_bias=_ATTENTION, output_bias=_ATTENTION, tied=True, head_dim=256),
    "phi3": DecoderType(),
    "granite": DecoderType(qkv_bias=_ATTENTION, output_bias=_ATTENTION, mlp_bias=_MLP),
    "olmo2": DecoderType(head_norm=HeadNorm.OWN, qkv_bias=_ATTENTION, output_bias=_ATTENTION),
    "smollm3": DecoderType(
        qkv_bias=_ATTENTION,
        output_bias=_ATTENTION,
        mlp_bias=_MLP,
        tied=True,
        kv_heads=4,
        slides=_SWITCHED,
    ),
    "cohere": DecoderType(
        norms=1,
        head_norm=HeadNorm.OWN,
        has_head_norm=Flag("use_qk_norm", False),
        qkv_bias=_ATTENTION,
        output_bias=_ATTENTION,
        tied=True,
    ),
    "glm": _GLM,
    "glm4": _GLM._replace(norms=4),
    "exaone4": DecoderType(head_norm=HeadNorm.SHARED, window_tokens=4096),
    "seed_oss": DecoderType(
        qkv_bias=Flag("attention_bias", True),
        output_bias=Flag("attention_out_bias", False),
        mlp_bias=_MLP,
        kv_heads=8,
        head_dim=128,
    ),
    "ernie4_5": DecoderType(
        qkv_bias=_USE, output_bias=_USE, mlp_bias=_USE, tied=True, kv_heads=2, head_dim=128
    ),
    "internlm2": DecoderType(qkv_bias=Flag("bias", True), output_bias=Flag("bias", True)),
}


def type_name(fields: Mapping[str, Any]) -> str:
    """The model type of a configuration; the plain one where the file does not say it."""
    return str(fields.get("model_type") or PLAIN)


class Widths(NamedTuple):
    """The sizes of a layer that its vectors have: D, q, kv, head_dim and I."""

    hidden: int
    q: int
    kv: int
    head: int
    mlp: int


def vector_parameters(name: str, fields: Mapping[str, Any], widths: Widths) -> int:
    """Count the norms and biases of one layer of a known type.

    Raise a ProfileError if the file says neither true nor false of a bias.
    """
    kind = DECODER_TYPES[type_name(fields)]
    count = kind.norms * widths.hidden
    if says(name, fields, kind.has_head_norm):
        heads = {HeadNorm.NONE: 0, HeadNorm.SHARED: 2 * widths.head}
        count += heads.get(kind.head_norm, widths.q + widths.kv)
    if says(name, fields, kind.qkv_bias):
        count += widths.q + 2 * widths.kv
    if says(name, fields, kind.output_bias):
        count += widths.hidden
    if says(name, fields, kind.mlp_bias):
        count += 2 * widths.mlp + widths.hidden
    return count


def says(name: str, fields: Mapping[str, Any], flag: Flag) -> bool:
    """Read a flag. Raise a ProfileError if it is neither true nor false."""
    value = None if flag.key is None else fields.get(flag.key)
    if value is None:
        return flag.default
    if not isinstance(value, bool):
        raise ProfileError(f"{name}: {flag.key} is {value!r:.60}: it must be true or false")
    return value
