"""Greedy decoding as one would write it in an afternoon: every key and value kept in a list.

It drives the decoder as the real driver does, layer by layer, but nothing moves. `page_tokens` only
says how the same KV is cut, `chunk_tokens` how a prompt is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from orbitflow.backend.attention.reference import Segment, decode_attention, prefill_attention
from orbitflow.backend.model.decoder import Decoder, greedy


@dataclass
class Text:
    """One request: its tokens so far, its KV by layer, the logits that chose each new token."""

    tokens: list[int]
    k: list[Tensor] = field(default_factory=list)
    v: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)

    def keep(self, layer: int, k: Tensor, v: Tensor) -> None:
        if layer == len(self.k):
            self.k.append(k)
            self.v.append(v)
        else:
            self.k[layer] = torch.cat((self.k[layer], k))
            self.v[layer] = torch.cat((self.v[layer], v))

    def segments(self, layer: int, page_tokens: int) -> list[Segment]:
        if not self.k[layer:]:
            return []
        k, v = (torch.split(kept[layer], page_tokens) for kept in (self.k, self.v))
        return [(a.clone(), b.clone()) for a, b in zip(k, v, strict=True)]

    def choose(self, logits: Tensor) -> None:
        self.logits.append(logits)
        self.tokens.append(int(greedy(logits[None])[0]))


def prefill(decoder: Decoder, text: Text, chunk_tokens: int = 0, page_tokens: int = 16) -> None:
    """Run the prompt and choose the first token."""
    whole = decoder.for_prefill()
    prompt = torch.tensor(text.tokens)
    positions = torch.arange(len(prompt))
    step = chunk_tokens or len(prompt)
    chunks = (torch.split(part, step) for part in (prompt, positions))
    for tokens, where in zip(*chunks, strict=True):
        hidden = whole.embed(tokens)
        for layer in range(whole.layers):
            q, k, v = whole.qkv(layer, hidden, where)
            prior = text.segments(layer, page_tokens)
            hidden = whole.finish(layer, hidden, prefill_attention(q, k, v, prior))
            text.keep(layer, k, v)
    text.choose(whole.logits(hidden[-1:])[0])


def decode(decoder: Decoder, batch: Sequence[Text], page_tokens: int = 16) -> None:
    """Run one pass: a token more for each."""
    hidden = decoder.embed(torch.tensor([text.tokens[-1] for text in batch]))
    positions = torch.tensor([len(text.tokens) - 1 for text in batch])
    for layer in range(decoder.layers):
        q, k, v = decoder.qkv(layer, hidden, positions)
        attended = torch.empty_like(q)
        for row, text in enumerate(batch):
            text.keep(layer, k[row : row + 1], v[row : row + 1])
            attended[row] = decode_attention(q[row], text.segments(layer, page_tokens))
        hidden = decoder.finish(layer, hidden, attended)
    logits = decoder.logits(hidden)
    for row, text in enumerate(batch):
        text.choose(logits[row])


def generate(decoder: Decoder, prompt: Sequence[int], tokens: int, **how: int) -> Text:
    """Generate `tokens` tokens alone in the machine."""
    text = Text(list(prompt))
    prefill(decoder, text, **how)
    for _ in range(tokens - 1):
        decode(decoder, [text], how.get("page_tokens", 16))
    return text
