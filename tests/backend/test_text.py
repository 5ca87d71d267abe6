"""Tokens to text as they come, the likeliest token, and what is said where a package is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orbitflow.backend.extra import require
from orbitflow.backend.model.tokenizer import TextStream, Tokenizer, end_tokens, has_tokenizer
from orbitflow.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer of single bytes: every character beyond ASCII takes several tokens."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the text extra")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = {letter: number for number, letter in enumerate(alphabet)}
    reader = tokenizers.Tokenizer(tokenizers.models.BPE(words, []))
    reader.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    reader.decoder = tokenizers.decoders.ByteLevel()
    reader.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.mark.parametrize("text", ["plain", "Grüße, 世界! 🚀", "", " a  b\n"])
def test_streaming_says_what_decoding_says(folder: Path, text: str) -> None:
    tokenizer = Tokenizer(folder)
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    stream = TextStream(tokenizer, prompt=tokenizer.encode("before: ü"))
    pieces = [stream.push(token) for token in tokens]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert stream.flush() == ""


def test_a_broken_character_is_shown_at_the_end(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    stream = TextStream(tokenizer)
    tokens = tokenizer.encode("a🚀")[:-1]
    assert "".join(map(stream.push, tokens)) == "a"
    assert stream.flush().startswith("\ufffd")


def test_end_tokens_come_from_the_directory(folder: Path) -> None:
    assert end_tokens(folder) == frozenset()
    (folder / "config.json").write_text(json.dumps({"eos_token_id": 5}))
    assert end_tokens(folder) == {5}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [6, 7]}))
    assert end_tokens(folder) == {6, 7}


def test_a_directory_without_tokenizer(tmp_path: Path) -> None:
    assert not has_tokenizer(tmp_path)
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        Tokenizer(tmp_path)


def test_a_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="download it again"):
        Tokenizer(folder)


def test_the_first_of_equals_is_taken() -> None:
    torch = pytest.importorskip("torch", reason="the backend needs torch")
    from orbitflow.backend.model.decoder import greedy

    logits = torch.tensor([[0.0, 2.0, 2.0], [3.0, 1.0, 3.0], [0.0, 0.0, 1.0]])
    assert greedy(logits).tolist() == [1, 0, 2]


@pytest.mark.parametrize(("module", "extra"), [("torch", "torch"), ("tokenizers", "text")])
def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"{module} is not installed: pip install .*\[{extra}\]"):
        require(module)
