"""A Llama-like decoder, one layer at a time: whoever drives it moves KV and attends in between.

    h = embed(t);   each layer: q, k, v = qkv(l, h, p),  h = finish(l, h, attention);   logits(h)

Exactness: with `block_rows` M, rows are padded with zeros to whole blocks of M and every block is
multiplied on its own, so that a row's result depends on that row alone: not on its neighbours, its
place or the size of the batch (a product of M rows rounds alike in all of them; other sizes may
take other kernels). Without blocks all rows are one product: for a prefill chunk, which is one
request's. Two decoders may share one set of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from orbitflow.backend.model.architecture import Architecture
from orbitflow.backend.model.weights import Weights

DECODE_ROWS = 8  # more may take another kernel (16 did on AVX-512), fewer waste less padding
DEFAULT_CONTEXT_TOKENS = 32_768


class QKV(NamedTuple):
    """Queries [n, H, d], and the keys and values [n, Hkv, d] to be kept, both contiguous."""

    q: Tensor
    k: Tensor
    v: Tensor


class Decoder:
    """The computation, given the weights. It holds no KV.

    n is the number of tokens given, P that number padded to whole blocks; hidden states stay padded
    from `embed` to `logits`.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Weights,
        block_rows: int | None = DECODE_ROWS,
        rotations: Tensor | None = None,
    ) -> None:
        spec = architecture.spec
        self.architecture = architecture
        self.weights = weights
        self.block_rows = block_rows
        self.layers: int = spec.layers
        self.heads: int = spec.heads
        self.kv_heads: int = spec.kv_heads
        self.head_dim: int = spec.head_dim
        self.dtype = weights.embedding.dtype
        self.device = weights.embedding.device
        self.max_context_tokens: int = spec.max_context_tokens or DEFAULT_CONTEXT_TOKENS
        if rotations is None:
            longest = self.max_context_tokens
            rotations = rotation_table(architecture.rope, spec.head_dim, longest, self.device)
        self._rotations = rotations  # [positions, 2, d/2]

    def for_prefill(self) -> Decoder:
        """The same model with all rows in one product."""
        return Decoder(self.architecture, self.weights, None, self._rotations)

    def embed(self, tokens: Tensor) -> Tensor:
        """Look up `tokens` [n]; return hidden states [P, D]."""
        return F.embedding(self._padded(tokens), self.weights.embedding)

    def qkv(self, layer: int, hidden: Tensor, positions: Tensor) -> QKV:
        """Norm, project and rotate `hidden` [P, D] of tokens at `positions` [n].

        Positions must lie below `max_context_tokens`.
        """
        weights, eps = self.weights.layers[layer], self.architecture.norm_eps
        d, sizes = self.head_dim, [self.heads, self.kv_heads, self.kv_heads]

        def project(hidden: Tensor, positions: Tensor) -> Tensor:
            x = F.rms_norm(hidden, hidden.shape[-1:], weights.input_norm, eps)
            qkv = F.linear(x, weights.qkv, weights.qkv_bias).view(len(hidden), -1, d)
            q, k, _ = torch.split(qkv, sizes, dim=1)
            if weights.q_norm is not None:
                q.copy_(F.rms_norm(q, (d,), weights.q_norm, eps))
            if weights.k_norm is not None:
                k.copy_(F.rms_norm(k, (d,), weights.k_norm, eps))
            turning = qkv[:, : self.heads + self.kv_heads]
            turning.copy_(rotate(turning, self._rotations[positions]))
            return qkv

        all_heads = self._in_blocks(project, hidden, self._padded(positions))
        q, k, v = torch.split(all_heads[: len(positions)], sizes, dim=1)
        return QKV(q, k.contiguous(), v.contiguous())

    def finish(self, layer: int, hidden: Tensor, attended: Tensor) -> Tensor:
        """Add what was `attended` [n, H, d], then the MLP, to `hidden` [P, D]."""
        weights, eps = self.weights.layers[layer], self.architecture.norm_eps

        def add(hidden: Tensor, attended: Tensor) -> Tensor:
            hidden = hidden + F.linear(attended.flatten(1), weights.output)
            x = F.rms_norm(hidden, hidden.shape[-1:], weights.mlp_norm, eps)
            gate, up = F.linear(x, weights.gate_up).chunk(2, dim=-1)
            return hidden + F.linear(F.silu(gate) * up, weights.down)

        return self._in_blocks(add, hidden, self._padded(attended))

    def logits(self, hidden: Tensor) -> Tensor:
        """Score the vocabulary: [P, V] of `hidden` [P, D]."""
        weights, eps = self.weights, self.architecture.norm_eps

        def score(hidden: Tensor) -> Tensor:
            x = F.rms_norm(hidden, hidden.shape[-1:], weights.norm, eps)
            return F.linear(x, weights.head)

        return self._in_blocks(score, hidden)

    def _padded(self, rows: Tensor) -> Tensor:
        """Append zeros up to whole blocks."""
        missing = -len(rows) % (self.block_rows or 1)
        return F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, missing)) if missing else rows

    def _in_blocks(self, compute: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """Compute block by block. All of `rows` have the same, padded, length."""
        if self.block_rows is None or len(rows[0]) == self.block_rows:
            return compute(*rows)
        blocks = zip(*(torch.split(part, self.block_rows) for part in rows), strict=True)
        return torch.cat([compute(*block) for block in blocks])
