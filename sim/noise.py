"""Noise on compute: pass k of a run takes a factor of its own, the same for the same seed.

factor_k is uniform on [1 - spread, 1 + spread]. Factors belong to pass numbers, so a step that ends
early draws nothing anew.
"""

from __future__ import annotations

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from orbitflow.arrays import FloatArray

_BLOCK = 1 << 16  # factors that are drawn; they repeat after so many passes
_STREAM = 0x6E6F697365  # of the seed: not the one that arrivals are drawn from


class Noise:
    """Factors on the compute time of passes, by pass number."""

    def __init__(self, spread: float, seed: int) -> None:
        draw = Generator(PCG64(SeedSequence([seed, _STREAM])))
        self._factors: FloatArray = draw.uniform(1 - spread, 1 + spread, _BLOCK)

    def factors(self, first_pass: int, passes: int) -> FloatArray:
        """Factors of these passes, shape (passes,)."""
        return self._factors.take(np.arange(first_pass, first_pass + passes), mode="wrap")
