"""Why a configuration is refused: what is modelled is a list, what is not has a reason.

Modelled is a decoder of a known type in which every layer keeps a key and a value per token and
KV head for the whole context, with nothing beside it and with unquantised weights. A key that says
otherwise is named first, whatever the type; then the type must be known. Of the common types that
are not, the first thing that would be mispriced is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from orbitflow.errors import ProfileError
from orbitflow.machine.decoder_types import DECODER_TYPES, says, type_name

_EXPERTS = (  # more than one of these, and they are at work
    *("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"),
    *("num_moe_experts", "moe_num_primary_experts"),
)
_KEYS = {  # there at all, and it is at work
    "a state-space layer": (
        *("state_size", "ssm_state_size", "mamba_d_state", "mamba_expand"),
        "hybrid_override_pattern",
    ),
    "a convolution layer": ("conv_L_cache", "full_attn_idxs"),
    "multi-head latent attention": ("kv_lora_rank",),
    "quantised weights": ("quantization_config", "quantization", "compression_config"),
    "an encoder": ("is_encoder_decoder",),
    "cross attention": ("cross_attention_layers", "add_cross_attention"),
    "KV shared between layers": ("use_cla", "num_kv_shared_layers"),
    "an additional layer that drafts tokens": ("num_nextn_predict_layers",),
    "a layer unlike the others": ("block_configs", "per_layer_config"),
    "a vision tower": (
        *("vision_config", "vision_tower", "mm_vision_tower", "visual", "img_processor"),
        "vision_cfg",
    ),
    "an audio tower": ("audio_config", "audio_cfg", "audio_processor"),
}
_TYPES = {
    "an encoder without a KV cache": (
        *("albert", "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "deberta"),
        *(
            "deberta-v2",
            "distilbert",
            "megatron-bert",
            "rembert",
            "roberta-prelayernorm",
            "roc_bert",
        ),
        *("electra", "ernie", "esm", "eurobert", "flaubert", "funnel", "longformer", "modernbert"),
        *("mpnet", "nomic_bert", "roberta", "roformer", "squeezebert", "xlm", "xlm-roberta"),
        *("xlm-roberta-xl", "xlnet", "xmod"),
    ),
    "an encoder beside the decoder": (
        *("bart", "blenderbot", "led", "longt5", "m2m_100", "marian", "mbart", "moonshine", "mt5"),
        *("pegasus", "prophetnet", "speech_to_text", "switch_transformers", "t5", "t5gemma"),
        *("umt5", "whisper"),
    ),
    "an MLP without a gate": (
        *("apertus", "arcee", "biogpt", "bloom", "codegen", "falcon", "gpt2", "gpt_bigcode"),
        *("gpt_neo", "gpt_neox", "gpt_neox_japanese", "gptj", "mpt", "nanochat", "nemotron"),
        *("openai-gpt", "opt", "persimmon", "phi", "starcoder2", "xglm"),
    ),
    "an MLP of half the stated width": ("qwen",),
    "a convolution layer": ("lfm2", "lfm2_moe"),
    "a state-space layer": (
        *("bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "mamba", "mamba2"),
        *("nemotron_h", "plamo2", "recurrent_gemma", "rwkv", "xlstm", "zamba", "zamba2"),
    ),
    "linear attention": ("minimax", "qwen3_5", "qwen3_5_text", "qwen3_next"),
    "mixture of experts": (
        *("dbrx", "deepseek", "dots1", "ernie4_5_moe", "flex_olmo", "glm4_moe", "gpt_oss"),
        *("granitemoe", "granitemoeshared", "hunyuan_v1_moe", "jetmoe", "llama4", "llama4_text"),
        *("mixtral", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe"),
    ),
    "multi-head latent attention": ("deepseek_v2", "deepseek_v3", "kimi_k2", "minicpm3"),
    "KV shared between layers": ("gemma3n", "gemma3n_text", "gemma4", "gemma4_text"),
    "a layer unlike the others": ("deci", "nemotron-nas", "openelm"),
    "sliding-window attention": (
        *("afmoe", "cohere2", "gemma2", "gemma3", "gemma3_text", "ministral", "olmo3"),
        *("cwm", "granite_swa", "modernbert-decoder", "vaultgemma"),
    ),
    "a norm without weights": ("olmo",),
    "a norm with biases": ("stablelm",),
    "a vision tower": (
        *("aya_vision", "idefics2", "idefics3", "internvl", "internvl_chat", "llava"),
        *("llava_next", "mistral3", "mllama", "paligemma", "phi3_v", "phi4mm", "phi4_multimodal"),
        *("pixtral", "qwen2_5_omni", "qwen2_5_vl", "qwen2_vl", "qwen3_vl", "smolvlm"),
    ),
    "an audio tower": ("qwen2_audio", "ultravox", "voxtral"),
}
_REASONS = {kind: reason for reason, kinds in _TYPES.items() for kind in kinds}
_PLAIN_CLASSES = ("LlamaForCausalLM", "LLaMAForCausalLM")
_GENERATORS = ("ForCausalLM", "LMHeadModel")
_SIDE_FILES = (
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
    "quantization_config.json",
    "quant_model_description.json",
)
_FULL = "full_attention"
_SLIDING = "sliding_attention"


def refuse_unmodelled(name: str, fields: Mapping[str, Any], longest: int | None) -> None:
    """Raise a ProfileError if the config `fields` are of a kind that is not modelled. `longest` is
    the longest context in tokens, None where it is not stated.
    """
    kind = type_name(fields)
    for reason in _unmodelled(name, fields, longest):
        raise _refusal(name, reason)
    if kind not in DECODER_TYPES:
        raise ProfileError(
            f"{name}: model type {kind[:60]!r} is not known: use one of {', '.join(DECODER_TYPES)}"
        )
    for reason in _windows(name, fields, longest):
        raise _refusal(name, reason)


def refuse_quantised(name: str, folder: str) -> None:
    """Raise a ProfileError if a file beside `config.json` says that weights are quantised."""
    for file in _SIDE_FILES:
        if os.path.lexists(os.path.join(folder, file)):
            raise _refusal(name, f"quantised weights ({file})")


def _refusal(name: str, reason: str) -> ProfileError:
    return ProfileError(
        f"{name}: not modelled: {reason}; use an unquantised dense text model with full attention "
        "in every layer"
    )


def _unmodelled(name: str, fields: Mapping[str, Any], longest: int | None) -> Iterator[str]:
    for key in _EXPERTS:
        if fields.get(key) not in (None, 0, 1):
            yield f"mixture of experts ({key})"
    for reason, keys in _KEYS.items():
        for key in keys:
            if fields.get(key) not in (None, False, []):
                yield f"{reason} ({key})"
    kind = type_name(fields)
    if kind in _REASONS:
        yield f"{_REASONS[kind]} (model_type {kind})"
    for made in _architectures(fields):
        if not made.endswith(_GENERATORS):
            yield f"a model that does not generate text (architectures {made[:60]!r})"
        if not fields.get("model_type") and made not in _PLAIN_CLASSES:
            yield f"a {made[:60]!r} without a model_type (add it)"
    for layer in sorted(_layer_types(fields) - {_FULL, _SLIDING}):
        yield f"a layer of type {layer[:60]} (layer_types)"


def _windows(name: str, fields: Mapping[str, Any], longest: int | None) -> Iterator[str]:
    """A window at work: set, not switched off, and shorter than the longest context."""
    kind = DECODER_TYPES[type_name(fields)]
    window = fields.get("sliding_window", kind.window_tokens)
    if not window or not says(name, fields, kind.slides):
        return
    if fields.get("use_sliding_window") is False or _layer_types(fields) == {_FULL}:
        return
    if not (isinstance(window, int) and longest is not None and window >= longest):
        told = (
            "" if "sliding_window" in fields else f", as {type_name(fields)} has unless it is null"
        )
        yield f"sliding-window attention (sliding_window {window!r:.60}{told})"


def _architectures(fields: Mapping[str, Any]) -> list[str]:
    made = fields.get("architectures")
    return [str(one) for one in made] if isinstance(made, list) else []


def _layer_types(fields: Mapping[str, Any]) -> set[str]:
    types = fields.get("layer_types")
    return set(map(str, types)) if isinstance(types, list) else set()
