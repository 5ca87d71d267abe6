"""Rotary position embedding: each pair (x_i, x_{i+d/2}) turns by an angle that grows with position.

    angle(p, i) = p · f_i,   f_i = theta^(-2i/d)      (Su et al. 2021, "RoFormer")

Llama 3.1 stretches it: rotations longer than the original context are slowed by a factor. The
angles of all positions are tabulated once, so that a token's rotation cannot depend on the batch in
which it is computed (a vectorised cosine may differ in the last bit from a scalar one).
"""

from __future__ import annotations

import math

import torch
from orbitflow.backend.model.architecture import Llama3Scaling, Rope
from torch import Tensor


def frequencies(rope: Rope, head_dim: int) -> Tensor:
    """Radians per position of each pair, shape (head_dim / 2,), fp32 on the CPU."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    plain = 1.0 / rope.theta**exponents / rope.factor
    return plain if rope.llama3 is None else _stretched(plain, rope.llama3)


def _stretched(plain: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Blend by how many turns a pair makes within the original context."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_context_tokens * plain / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return kept * plain + (1 - kept) * plain / scaling.factor


def rotation_table(rope: Rope, head_dim: int, positions: int, device: torch.device) -> Tensor:
    """Cosines and sines of every position, shape (positions, 2, head_dim / 2), fp32."""
    angles = torch.outer(torch.arange(positions).float(), frequencies(rope, head_dim))
    return torch.stack((angles.cos(), angles.sin()), dim=1).to(device)


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """Turn `heads` [M, H, d] by `rotation` [M, 2, d/2]; the result is fp32."""
    cos, sin = rotation.unsqueeze(1).unbind(2)  # [M, 1, d/2] each
    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
