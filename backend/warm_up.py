"""Passes that nobody measures: the first ones of a process load kernels and grow buffers.

They run through the decoder and its attention alone and leave nothing behind.
"""

from __future__ import annotations

import torch

from orbitflow.backend.attention import Scratch, decode_attention, prefill_attention
from orbitflow.backend.decoder import Decoder

_TOKENS, _ROWS, _PASSES = 256, 4, 4


def warm_up(decoder: Decoder) -> None:
    """Prefill one prompt and decode behind it a few times."""
    prefiller, scratch, device = decoder.for_prefill(), Scratch(), decoder.device
    tokens = min(_TOKENS, decoder.max_context_tokens)
    with torch.inference_mode():
        for _ in range(_PASSES):
            positions = torch.arange(tokens, device=device)
            hidden = prefiller.embed(torch.zeros(tokens, dtype=torch.long, device=device))
            rows = decoder.embed(torch.zeros(_ROWS, dtype=torch.long, device=device))
            for layer in range(decoder.layers):
                q, k, v = prefiller.qkv(layer, hidden, positions)
                hidden = prefiller.finish(layer, hidden, prefill_attention(q, k, v, [], scratch))
                asked, _, _ = decoder.qkv(layer, rows, positions[:_ROWS])
                attended = [decode_attention(row, [(k, v)], scratch) for row in asked]
                rows = decoder.finish(layer, rows, torch.stack(attended))
            decoder.logits(rows).argmax(dim=-1).tolist()
