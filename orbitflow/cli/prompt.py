"""The prompt of `orbitflow generate`: a text or token ids, from the command line or from stdin.

Invariant: every token that leaves here has an embedding, so a pass can look all of them up.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from orbitflow.errors import UserError

if TYPE_CHECKING:
    from orbitflow.backend.model.tokenizer import Tokenizer
    from orbitflow.cli.backend_parts import Parts


class Prompt(NamedTuple):
    """The prompt, as text or as tokens, and how much to answer."""

    prompt: str | None
    prompt_tokens: str | None
    max_new_tokens: int


def read_prompt(parts: Parts, question: Prompt) -> tuple[Tokenizer | None, list[int]]:
    """The model's tokenizer, if it has one, and the prompt's tokens."""
    from orbitflow.backend.model.tokenizer import Tokenizer, has_tokenizer

    folder, spec = parts.model.folder, parts.model.architecture.spec
    tokenizer = Tokenizer(folder) if folder is not None and has_tokenizer(folder) else None
    if question.prompt is None:
        tokens = _read_ids(question.prompt_tokens or "", spec.vocab_size)
    elif tokenizer is None:
        raise UserError(
            f"{spec.name} has no tokenizer: give --prompt-tokens, or a model directory with a "
            "tokenizer.json"
        )
    else:
        tokens = tokenizer.encode(_read_text(question.prompt))
        if max(tokens, default=0) >= spec.vocab_size:
            raise UserError(
                f"the tokenizer gives id {max(tokens)}, but {spec.name} has {spec.vocab_size} "
                "embeddings: leave the added token out, or take the tokenizer of these weights"
            )
    if not tokens:
        raise UserError("the prompt is empty: give at least one token")
    return tokenizer, tokens


def _read_text(prompt: str) -> str:
    """The prompt, from stdin if it is `-`. Raise a UserError if it is not UTF-8."""
    try:
        return (sys.stdin.buffer.read() if prompt == "-" else os.fsencode(prompt)).decode()
    except UnicodeError:
        where = "stdin" if prompt == "-" else "--prompt"
        raise UserError(f"{where} is not UTF-8: convert it") from None


def _read_ids(text: str, vocabulary: int) -> list[int]:
    tokens = []
    for part in filter(None, map(str.strip, text.split(","))):
        if not (part.isascii() and part.isdigit()) or int(part[:12]) >= vocabulary:
            raise UserError(
                f"--prompt-tokens: {part!r} is no token: write ids from 0 to {vocabulary - 1}"
            )
        tokens.append(int(part))
    return tokens
