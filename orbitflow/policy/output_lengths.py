"""How long outputs will be: what is still to come of a request that has made `g` tokens.

    left(g) = quantile of (n - g) over finished requests of n > g tokens,   at least 1

among the last MEMORY of them. Where none was longer, as many again as there are: the longer it has
lasted, the longer it will. Before anybody has finished, FIRST_TOKENS. With the oracle, the truth.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque

from orbitflow.request import Request

MEMORY = 1024  # finished requests that are remembered
QUANTILE = 0.6
FIRST_TOKENS = 256


class OutputLengths:
    """A running idea of output lengths."""

    def __init__(self, *, is_oracle: bool = False) -> None:
        self._is_oracle = is_oracle
        self._recent: deque[int] = deque()
        self._sorted: list[int] = []

    def finished(self, output_tokens: int) -> None:
        """A request is over."""
        if len(self._recent) == MEMORY:
            self._sorted.pop(bisect_right(self._sorted, self._recent.popleft()) - 1)
        self._recent.append(output_tokens)
        insort(self._sorted, output_tokens)

    def left(self, request: Request, generated: int) -> int:
        """Tokens that a request which has made `generated` is expected to make still."""
        if self._is_oracle:
            return max(1, request.output_tokens - generated)
        if not self._sorted:
            return max(FIRST_TOKENS, generated)
        first = bisect_right(self._sorted, generated)
        longer = len(self._sorted) - first
        if not longer:
            return max(1, generated)
        return self._sorted[first + int(QUANTILE * (longer - 1))] - generated

    def ends_within(self, request: Request, generated: int, tokens: float) -> float:
        """The chance that a request ends within so many tokens more, by the same requests; where
        none was longer, as if any length up to the one guessed by `left` were as likely.
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
