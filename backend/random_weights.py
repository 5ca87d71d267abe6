"""Weights by dice: a model of any shape without a checkpoint, alike for the same seed and device.

    W ~ N(0, 1 / columns),   norms = 1,   biases ~ N(0, 0.1²)

so that activations keep their size through the layers and attention looks at its context. Each
tensor has a generator of its own, seeded by (seed, name): the order of filling does not matter.
"""

from __future__ import annotations

import hashlib

import torch
from orbitflow.backend.model.architecture import Architecture
from orbitflow.backend.model.weights import Weights, assemble
from torch import Tensor

_BIAS_STD = 0.1


class RandomSource:
    """Tensors drawn by seed and name."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def fill(self, name: str, target: Tensor) -> None:
        """Draw one tensor."""
        if name.endswith("norm.weight"):
            target.fill_(1.0)
            return
        digest = hashlib.sha256(f"{self._seed}/{name}".encode()).digest()
        dice = torch.Generator(target.device).manual_seed(int.from_bytes(digest[:7], "big"))
        std = _BIAS_STD if target.dim() == 1 else target.shape[-1] ** -0.5
        target.normal_(0.0, std, generator=dice)


def random_weights(architecture: Architecture, seed: int, device: torch.device) -> Weights:
    """Draw all weights of a decoder on `device`."""
    return assemble(architecture, RandomSource(seed), device)
