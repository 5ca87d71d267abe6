"""Output lengths: how many tokens are still to come of a request that has generated g.

    left(g) = quantile of (n - g) over finished requests of n > g tokens,   at least 1

among the last `memory` of them. Where none was longer, as many as it has generated: the longer a
request has lasted, the longer it will. Until a request has finished, `first_tokens` at least. With
the oracle, the truth.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections import deque

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.request import Request


class OutputLengths:
    """The lengths of finished requests, and what they say of the others.

    The plural methods answer for several requests at once: arrays of whole numbers, shapes
    (requests,). `output_tokens` is read by the oracle alone.
    """

    def __init__(
        self, *, memory: int, quantile: float, first_tokens: int, is_oracle: bool = False
    ) -> None:
        self._memory = memory
        self._quantile = quantile
        self._first_tokens = first_tokens
        self._is_oracle = is_oracle
        self._recent: deque[int] = deque()
        self._sorted = array("d")  # whole numbers, as they are compared with arrays of such

    def finished(self, output_tokens: int) -> None:
        """A request has finished."""
        if len(self._recent) == self._memory:
            self._sorted.pop(bisect_right(self._sorted, self._recent.popleft()) - 1)
        self._recent.append(output_tokens)
        insort(self._sorted, output_tokens)

    def left(self, request: Request, generated: int) -> int:
        """Tokens that a request which has generated so many is expected to generate still."""
        if self._is_oracle:
            return max(1, request.output_tokens - generated)
        if not self._sorted:
            return max(self._first_tokens, generated)
        first = bisect_right(self._sorted, generated)
        longer = len(self._sorted) - first
        if not longer:
            return max(1, generated)
        return int(self._sorted[first + int(self._quantile * (longer - 1))]) - generated

    def lefts(self, output_tokens: FloatArray, generated: FloatArray) -> FloatArray:
        """`left` of each of these."""
        if self._is_oracle:
            return np.maximum(1.0, output_tokens - generated)
        if not self._sorted:
            return np.maximum(float(self._first_tokens), generated)
        lengths = self._lengths
        first = lengths.searchsorted(generated, "right")
        longer = len(lengths) - first
        at = first + (self._quantile * (longer - 1)).astype(np.intp)
        if longer.all():
            return lengths[at] - generated
        among = lengths[np.minimum(at, len(lengths) - 1)] - generated
        return np.where(longer > 0, among, np.maximum(1.0, generated))

    def end_within(
        self, output_tokens: FloatArray, generated: FloatArray, tokens: FloatArray
    ) -> FloatArray:
        """The probability of each of these to end within so many tokens more, by the same requests.

        Where none was longer, every length up to the one guessed by `left` is taken as likely.
        """
        if self._is_oracle:
            return ((output_tokens - generated <= tokens) & (tokens > 0)).astype(np.float64)
        if not self._sorted:
            return self._evenly(output_tokens, generated, tokens)
        lengths = self._lengths
        first = lengths.searchsorted(generated, "right")
        longer = len(lengths) - first
        shorter = lengths.searchsorted(generated + np.maximum(0.0, tokens), "right") - first
        if longer.all():
            return shorter / longer
        evenly = self._evenly(output_tokens, generated, tokens)
        return np.where(longer > 0, shorter / np.maximum(1, longer), evenly)

    @property
    def _lengths(self) -> FloatArray:
        """A view: drop it before another request finishes."""
        return np.frombuffer(self._sorted)

    def _evenly(
        self, output_tokens: FloatArray, generated: FloatArray, tokens: FloatArray
    ) -> FloatArray:
        lefts = self.lefts(output_tokens, generated)
        return np.minimum(1.0, np.maximum(0.0, tokens) / lefts)
