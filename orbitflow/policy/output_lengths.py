"""Output lengths: how many tokens are still to come of a request that has generated g.

    left(g) = quantile of (n - g) over finished requests of n > g tokens,   at least 1

among the last `memory` of them. Where none was longer, as many as it has generated: the longer a
request has lasted, the longer it will. Until a request has finished, `first_tokens` at least. With
the oracle, the truth.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque

from orbitflow.request import Request


class OutputLengths:
    """The lengths of finished requests, and what they say of the others."""

    def __init__(
        self, *, memory: int, quantile: float, first_tokens: int, is_oracle: bool = False
    ) -> None:
        self._memory = memory
        self._quantile = quantile
        self._first_tokens = first_tokens
        self._is_oracle = is_oracle
        self._recent: deque[int] = deque()
        self._sorted: list[int] = []

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
        return self._sorted[first + int(self._quantile * (longer - 1))] - generated

    def ends_within(self, request: Request, generated: int, tokens: float) -> float:
        """The probability that a request ends within so many tokens more, by the same requests.

        Where none was longer, every length up to the one guessed by `left` is taken as likely.
        """
        if tokens <= 0:
            return 0.0
        if self._is_oracle:
            return float(request.output_tokens - generated <= tokens)
        first = bisect_right(self._sorted, generated)
        longer = len(self._sorted) - first
        if not longer:
            return min(1.0, tokens / self.left(request, generated))
        return (bisect_right(self._sorted, generated + tokens) - first) / longer
