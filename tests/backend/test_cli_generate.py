"""`orbitflow generate`: the same text as `transformers`, whatever the policy and however small the
device.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reference.commands import Invoke, invoker
from reference.cpu_profile import write_cpu_profile

torch = pytest.importorskip("torch", reason="the backend needs torch")
transformers: Any = pytest.importorskip("transformers", reason="nothing to compare with")
tokenizers: Any = pytest.importorskip("tokenizers", reason="needs the text extra")

PROMPT = "Long contexts do not fit. " * 8
NEW = 40


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Qwen3 with a tokenizer of single bytes, as `transformers` saves it; its profile."""
    monkeypatch.chdir(tmp_path)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    reader = tokenizers.Tokenizer(
        tokenizers.models.BPE({letter: number for number, letter in enumerate(alphabet)}, [])
    )
    reader.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    reader.decoder = tokenizers.decoders.ByteLevel()
    torch.manual_seed(5)
    config = transformers.AutoConfig.for_model(
        "qwen3", num_hidden_layers=3, hidden_size=64, intermediate_size=112, head_dim=32,
        num_attention_heads=4, num_key_value_heads=2, vocab_size=256, max_position_embeddings=512,
        eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(tmp_path / "model")
    reader.save(str(tmp_path / "model" / "tokenizer.json"))
    write_cpu_profile(tmp_path / "cpu.json", str(tmp_path / "model"))
    return tmp_path / "model"


@pytest.fixture
def orbitflow(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    return invoker(monkeypatch, capfd)


def theirs(folder: Path) -> tuple[list[int], str]:
    """What `transformers` generates, as tokens and as text."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    reader = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = reader.encode(PROMPT).ids
    with torch.no_grad():
        whole = model.generate(
            torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, pad_token_id=0
        )
    tokens = whole[0, len(prompt) :].tolist()
    return tokens, reader.decode(prompt + tokens)[len(PROMPT) :]


@pytest.mark.parametrize(("policy", "capacity"), [("orbitflow", 1000), ("deepspeed", 160)])
def test_the_same_text_as_transformers(
    orbitflow: Invoke, folder: Path, policy: str, capacity: int
) -> None:
    _, text = theirs(folder)
    result = orbitflow(
        *("generate", "--model", "model", "--prompt", PROMPT, "--policy", policy),
        *("--max-new-tokens", str(NEW), "--profile", "cpu.json"),
        *("--kv-capacity-tokens", str(capacity)),
    )
    assert result.code == 0, result.err
    assert result.out == text + "\n"
    assert f"{NEW} generated" in result.err
    streams = "0 B of KV streamed" not in result.err
    assert streams == (policy == "deepspeed")


def test_json_has_tokens_text_and_times(orbitflow: Invoke, folder: Path) -> None:
    tokens, text = theirs(folder)
    result = orbitflow(
        *("generate", "--model", "model", "--prompt", PROMPT, "--policy", "deepspeed", "--json"),
        *("--max-new-tokens", str(NEW), "--profile", "cpu.json", "--kv-capacity-tokens", "160"),
    )
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert (document["tokens"], document["text"]) == (tokens, text)
    assert document["policy"] == "deepspeed"
    assert document["h2d_bytes"] > 0
    assert document["ttft_s"] > 0
    assert document["tpot_s"] > 0


def test_it_stops_where_the_model_ends(orbitflow: Invoke, folder: Path) -> None:
    tokens, _ = theirs(folder)
    end = tokens[7]
    first = tokens.index(end)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": end}))
    result = orbitflow("generate", "--model", "model", "--prompt", PROMPT, "--profile", "cpu.json")
    assert result.code == 0, result.err
    assert f"{first} generated" in result.err


def test_token_ids_without_a_tokenizer(orbitflow: Invoke, folder: Path) -> None:
    tokens, _ = theirs(folder)
    reader = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = ",".join(map(str, reader.encode(PROMPT).ids))
    (folder / "tokenizer.json").unlink()
    result = orbitflow(
        *("generate", "--model", "model", "--prompt-tokens", ids, "-q"),
        *("--max-new-tokens", str(NEW), "--profile", "cpu.json"),
    )
    assert result.code == 0, result.err
    assert result.out == ",".join(map(str, tokens)) + "\n"
    assert result.err == ""


def test_it_stops_where_the_model_ends_without_a_tokenizer(orbitflow: Invoke, folder: Path) -> None:
    tokens, _ = theirs(folder)
    end = tokens[7]
    reader = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = ",".join(map(str, reader.encode(PROMPT).ids))
    (folder / "tokenizer.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": end}))
    result = orbitflow(
        *("generate", "--model", "model", "--prompt-tokens", ids, "-q", "--profile", "cpu.json")
    )
    assert result.code == 0, result.err
    assert result.out == ",".join(map(str, tokens[: tokens.index(end)])) + "\n"


def test_a_token_beyond_the_embeddings_is_refused(orbitflow: Invoke, folder: Path) -> None:
    reader = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reader.add_tokens(["<extra>"])
    reader.save(str(folder / "tokenizer.json"))
    result = orbitflow("generate", "--model", "model", "--prompt", "a <extra>")
    assert result.code == 2
    assert "the tokenizer gives id 256, " in result.err
    assert "has 256 embeddings" in result.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give either --prompt or --prompt-tokens"),
        (("--prompt", "a", "--prompt-tokens", "1"), "give either"),
        (("--prompt", ""), "the prompt is empty"),
        (("--prompt-tokens", ","), "the prompt is empty"),
        (("--prompt-tokens", "1,256"), "'256' is no token"),
        (("--prompt-tokens", "1,-2"), "'-2' is no token"),
        (("--prompt", "a", "--max-new-tokens", "0"), "--max-new-tokens 0"),
        (("--prompt", "a", "--max-new-tokens", "1000"), "grow beyond the 512 tokens"),
        (("--prompt", "a", "--policy", "best"), "best"),
        (("--prompt", "a", "--policy", "all"), "one prompt has one policy"),
        (("--prompt", "a", "--policy", "orbit,dynamic"), "one prompt has one policy"),
        (("--prompt", "a", "--policy", "infinigen"), "infinigen"),
        (("--prompt", "a" * 100, "--policy", "no-offload", "--kv-capacity-tokens", "32"), "served"),
        (("--prompt", "a", "--device", "npu"), "--device npu"),
    ],
)
def test_bad_input(orbitflow: Invoke, folder: Path, options: tuple[str, ...], said: str) -> None:
    result = orbitflow("generate", "--model", "model", "--profile", "cpu.json", "-q", *options)
    assert result.code == 2, result
    assert result.out.strip() == ""
    assert said in result.err
    assert result.err.count("\n") == 1


def test_a_prompt_is_whole_whatever_the_tokenizer_saved(orbitflow: Invoke, folder: Path) -> None:
    tokens, _ = theirs(folder)
    reader = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reader.enable_truncation(8)
    reader.enable_padding(length=400)
    reader.save(str(folder / "tokenizer.json"))
    result = orbitflow(
        *("generate", "--model", "model", "--prompt", PROMPT, "--json"),
        *("--max-new-tokens", str(NEW), "--profile", "cpu.json"),
    )
    document = json.loads(result.out)
    assert (document["prompt_tokens"], document["tokens"]) == (len(PROMPT), tokens)


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_it_stops_without_a_tokenizer(orbitflow: Invoke, folder: Path, file: str) -> None:
    tokens, _ = theirs(folder)
    reader = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = ",".join(map(str, reader.encode(PROMPT).ids))
    (folder / "tokenizer.json").unlink()
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**config, "eos_token_id": [255, tokens[7]]}))
    result = orbitflow(
        *("generate", "--model", "model", "--prompt-tokens", ids, "-q", "--profile", "cpu.json"),
    )
    until = min(tokens.index(end) for end in (255, tokens[7]) if end in tokens)
    assert result.out == ",".join(map(str, tokens[:until])) + "\n"


def test_an_added_token_beyond_the_embedding_is_refused(orbitflow: Invoke, folder: Path) -> None:
    reader = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reader.add_tokens(["<extra>"])
    reader.save(str(folder / "tokenizer.json"))
    result = orbitflow("generate", "--model", "model", "--prompt", "a <extra> b")
    assert (result.code, result.out) == (2, "")
    assert "id 256, but model has 256 embeddings" in result.err
    assert result.err.count("\n") == 1


def test_a_prompt_that_is_not_utf8_is_refused(orbitflow: Invoke, folder: Path) -> None:
    result = orbitflow("generate", "--model", "model", "--prompt", "caf\udce9 hello")
    assert (result.code, result.out) == (2, "")
    assert result.err == "orbitflow: --prompt is not UTF-8: convert it\n"
