"""What is asked of the model. A trace has lengths and no text, so prompts are drawn at random.

Request i of a run with seed s gets the same tokens in every run and under every policy, so that
what policies generate can be compared token by token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbitflow.request import Request


@dataclass(frozen=True, slots=True)
class RandomPrompts:
    """Token ids, uniform over the vocabulary."""

    seed: int
    vocab_size: int

    def __call__(self, request: Request) -> list[int]:
        """The prompt of a request, `prompt_tokens` long."""
        generator = np.random.Generator(np.random.PCG64((self.seed, request.id)))
        tokens: list[int] = generator.integers(self.vocab_size, size=request.prompt_tokens).tolist()
        return tokens
