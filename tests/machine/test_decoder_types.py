"""Model types: published counts worked out by hand, and every type against `transformers`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orbitflow.errors import ProfileError
from orbitflow.machine.decoder_types import DECODER_TYPES
from orbitflow.machine.model import ModelSpec, model_from_config, model_from_fields


def published(kind: str, *sizes: int, **more: Any) -> ModelSpec:
    """A model by its type and layers, hidden size, heads, KV heads, MLP width, vocabulary."""
    keys = (
        *("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads"),
        *("intermediate_size", "vocab_size"),
    )
    return model_from_fields(
        kind, {"model_type": kind, **dict(zip(keys, sizes, strict=True)), **more}
    )


def test_qwen2_5_7b_by_hand() -> None:
    """A layer: q and o 2 x 3584 x 3584, k and v 2 x 3584 x 512, MLP 3 x 3584 x 18944, two norms of
    3584, biases 3584 + 2 x 512: 233,057,792. All: 28 of them + 2 x 152064 x 3584 + 3584.
    """
    model = published("qwen2", 28, 3584, 28, 4, 18944, 152064)
    layer = 25_690_112 + 3_670_016 + 203_685_888 + 7_168 + 4_608
    assert model.layer_parameters == layer == 233_057_792
    assert model.layer_vector_parameters == 7_168 + 4_608
    assert model.parameters == 28 * layer + 2 * 152064 * 3584 + 3584 == 7_615_616_512
    assert model == published("qwen2", 28, 3584, 28, 4, 18944, 152064, attention_bias=False)


def test_qwen3_8b_by_hand() -> None:
    """A layer: q and o 2 x 4096 x 4096, k and v 2 x 4096 x 1024, MLP 3 x 4096 x 12288, two norms of
    4096 and two of 128: 192,946,432. All: 36 of them + 2 x 151936 x 4096 + 4096.
    """
    model = published("qwen3", 36, 4096, 32, 8, 12288, 151936)
    assert model.layer_parameters == 33_554_432 + 8_388_608 + 150_994_944 + 8_192 + 256
    assert model.parameters == 36 * 192_946_432 + 2 * 151936 * 4096 + 4096 == 8_190_735_360


def test_smollm3_3b_by_hand() -> None:
    """A layer: 2 x 2048 x 128 x (16 + 4) + 3 x 2048 x 11008 + 2 x 2048 = 78,123,008. All: 36 of
    them + 128256 x 2048 once, for the type ties its embeddings, + 2048.
    """
    model = published("smollm3", 36, 2048, 16, 4, 11008, 128256)
    assert model.tied_embeddings
    assert model.parameters == 36 * 78_123_008 + 128256 * 2048 + 2048 == 3_075_098_624


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (published("llama", 32, 4096, 32, 8, 14336, 128256), 8_030_261_248),
        (
            published("llama", 16, 2048, 32, 8, 8192, 128256, tie_word_embeddings=True),
            1_235_814_400,
        ),
        (published("mistral", 32, 4096, 32, 8, 14336, 32000, sliding_window=None), 7_241_732_096),
        (published("qwen2", 24, 896, 14, 2, 4864, 151936, tie_word_embeddings=True), 494_032_768),
        (published("qwen3", 28, 1024, 16, 8, 3072, 151936, tie_word_embeddings=True), 596_049_920),
        (published("gemma", 28, 3072, 16, 16, 24576, 256000), 8_537_680_896),
        (published("gemma", 18, 2048, 8, 1, 16384, 256000), 2_506_172_416),
        (published("phi3", 32, 3072, 32, 32, 8192, 32064), 3_821_079_552),
        (published("phi3", 40, 5120, 40, 10, 17920, 100352), 14_659_507_200),
        (published("olmo2", 32, 4096, 32, 32, 11008, 100352), 7_298_617_344),
        (published("cohere", 40, 8192, 64, 64, 22528, 256000), 34_980_831_232),
        (published("glm4", 40, 4096, 32, 2, 13696, 151552), 9_400_279_040),
        (published("ernie4_5", 18, 1024, 16, 2, 3072, 103424), 360_748_032),
        (
            published("internlm2", 32, 4096, 32, 8, 14336, 92544, bias=False),
            7_737_708_544,
        ),
    ],
    ids=lambda value: f"{value.name}-{value.layers}" if isinstance(value, ModelSpec) else "",
)
def test_published_counts(model: ModelSpec, parameters: int) -> None:
    assert model.parameters == parameters


def test_a_type_gives_what_the_file_leaves_out() -> None:
    """Gemma's heads are 256 wide; Mistral has 8 KV heads; Qwen2 slides only where told."""
    assert published("gemma", 2, 64, 4, 4, 96, 100).head_dim == 256
    lacking = {"num_key_value_heads": None, "sliding_window": None}
    assert published("mistral", 2, 64, 16, 4, 96, 100, **lacking).kv_heads == 8
    assert published("qwen2", 2, 64, 4, 4, 96, 100, sliding_window=32).layers == 2
    with pytest.raises(ProfileError, match="sliding_window 4096, as mistral has unless it is null"):
        published("mistral", 2, 64, 4, 4, 96, 100, max_position_embeddings=8192)
    with pytest.raises(ProfileError, match="attention_bias is 1: it must be true or false"):
        published("llama", 2, 64, 4, 4, 96, 100, attention_bias=1)


SIZES = {
    "num_hidden_layers": 3,
    "hidden_size": 96,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CHANGES: list[dict[str, Any]] = [
    {},
    {"head_dim": 48},
    {"attention_bias": True, "mlp_bias": True, "attention_out_bias": True, "use_bias": True},
    {"attention_bias": False, "use_qk_norm": True},
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False},
]


@pytest.mark.parametrize("kind", sorted(DECODER_TYPES.keys() - {"internlm2"}))
def test_every_count_is_that_of_transformers(kind: str, tmp_path: Path) -> None:
    """From the file that transformers writes, which leaves out some defaults of the class, and
    with every default left out that transformers itself can do without.
    """
    torch: Any = pytest.importorskip("torch", reason="nothing to count")
    transformers: Any = pytest.importorskip("transformers", reason="nothing to compare with")
    for changes in CHANGES:
        config = transformers.AutoConfig.for_model(kind, **SIZES, **changes)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        model.tie_weights()
        right = sum(weight.numel() for weight in model.parameters())
        config.save_pretrained(tmp_path)
        assert model_from_config(str(tmp_path)).parameters == right
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, **SIZES, **changes}))
        read = model_from_config(str(tmp_path))
        assert read.parameters == right
        assert read.kv_bytes_per_token == 2 * 2 * 3 * 2 * (read.head_dim)
