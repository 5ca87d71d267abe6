"""Text to tokens and back, where a model's directory has a `tokenizer.json`.

Invariant of streaming: printed text is never taken back. A token may end in the middle of a
character, so text is held until it decodes to whole characters. (Hugging Face `tokenizers`.)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orbitflow.backend.extra import require
from orbitflow.codec import read_json
from orbitflow.errors import ProfileError, UserError

_FILE = "tokenizer.json"
_UNFINISHED = "\ufffd"
_CONTEXT_TOKENS = 6


class Tokenizer:
    """The tokenizer of one directory. Raise a UserError if there is none or it cannot be read."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if not has_tokenizer(folder):
            raise ProfileError(
                f"{os.fspath(folder)} has no {_FILE}: take a model directory with a tokenizer"
            )
        require("tokenizers")
        from tokenizers import Tokenizer as Reader

        path = Path(folder) / _FILE
        try:
            self._reader: Any = Reader.from_file(str(path))
        except Exception as failure:  # the library raises nothing narrower
            raise UserError(f"cannot read {path}: {failure}: download it again") from None
        self._reader.no_truncation()  # saved with the file by whoever trained it: a prompt is whole
        self._reader.no_padding()

    def encode(self, text: str) -> list[int]:
        """Tokens of a prompt, with the model's own tokens at the start."""
        tokens: list[int] = self._reader.encode(text).ids
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of `tokens`, without special ones."""
        text: str = self._reader.decode(list(tokens), skip_special_tokens=True)
        return text


class TextStream:
    """Turns tokens into text as they come. The end of the prompt is context and not printed."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(prompt[-_CONTEXT_TOKENS:])
        self._context = 0  # tokens before this one are forgotten
        self._shown = len(self._tokens)  # tokens before this one are printed

    def push(self, token: int) -> str:
        """Add a token; return the text that is now complete, possibly empty."""
        self._tokens.append(token)
        text = self._pending()
        return "" if text.endswith(_UNFINISHED) else self._show(text)

    def flush(self) -> str:
        """Return the rest of the text, a broken character included."""
        return self._show(self._pending())

    def _pending(self) -> str:
        before = self._tokenizer.decode(self._tokens[self._context : self._shown])
        return self._tokenizer.decode(self._tokens[self._context :])[len(before) :]

    def _show(self, text: str) -> str:
        if text:
            self._context, self._shown = self._shown, len(self._tokens)
        return text


def has_tokenizer(folder: str | os.PathLike[str]) -> bool:
    """Whether the directory holds a tokenizer."""
    return (Path(folder) / _FILE).exists()


def end_tokens(folder: str | os.PathLike[str]) -> frozenset[int]:
    """Tokens that end a text: those of `generation_config.json`, else of `config.json`. They need
    no tokenizer. Raise a ProfileError if they are no token ids.
    """
    for name in ("generation_config.json", "config.json"):
        path = Path(folder) / name
        fields = read_json(path) if path.exists() else {}
        ends = fields.get("eos_token_id") if isinstance(fields, dict) else None
        if ends is None:
            continue
        ids = ends if isinstance(ends, list) else [ends]
        if not all(type(token) is int and token >= 0 for token in ids):
            raise ProfileError(f"{path}: eos_token_id must be a token id or a list of them")
        return frozenset(ids)
    return frozenset()
