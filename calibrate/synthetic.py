"""A decoder whose prompts cost next to nothing: their keys and values are drawn, not computed.

    decode: the real one;   prefill: k = v ~ N(0, 1), no product with any weight

So decode passes over long contexts can be timed without paying for the prompts. Whatever lies in
memory, and how long reading it takes, is as with real prompts; the text means nothing.
"""

from __future__ import annotations

import torch
from orbitflow.backend.model.decoder import QKV, Decoder
from torch import Tensor


class SyntheticPrompts(Decoder):
    """Decodes as `decoder` does, and fills prompts with random KV."""

    def __init__(self, decoder: Decoder) -> None:
        _share(self, decoder)

    def for_prefill(self) -> Decoder:
        """What fills prompts."""
        return _Filler(self)


class _Filler(Decoder):
    """One query stands for all of a prompt's, so that attention is linear in its length."""

    def __init__(self, decoder: Decoder) -> None:
        _share(self, decoder)
        self._drawn = torch.empty(0)

    def embed(self, tokens: Tensor) -> Tensor:
        """A hidden state for the one query. What all layers take is drawn here."""
        if len(tokens) > len(self._drawn):
            shape = (len(tokens), self.kv_heads, self.head_dim)
            self._drawn = torch.randn(shape, dtype=self.dtype, device=self.device)
        return torch.zeros(1, 1, dtype=self.dtype, device=self.device)

    def qkv(self, layer: int, hidden: Tensor, positions: Tensor) -> QKV:
        """Random keys, which are the values too, and one query."""
        drawn = self._drawn[: len(positions)]
        return QKV(drawn.new_zeros(1, self.heads, self.head_dim), drawn, drawn)

    def finish(self, layer: int, hidden: Tensor, attended: Tensor) -> Tensor:
        """Nothing to add."""
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """The first token is token 0."""
        return torch.zeros(len(hidden), 1, device=self.device)


def _share(taker: Decoder, giver: Decoder) -> None:
    """Initialise with all that another one has; weights are shared."""
    Decoder.__init__(taker, giver.architecture, giver.weights, giver.block_rows, giver._rotations)
