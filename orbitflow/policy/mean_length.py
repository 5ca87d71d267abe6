"""The mean final length of the requests met so far: an oracle, as it looks at their true outputs.

The OrbitFlow authors hand their FlexGen and Select-N emulations the mean of the whole trace. A
policy that serves requests as they come can know at most this much of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from orbitflow.request import RequestState


class MeanLength:
    """Counts every request once; they must be met in order of arrival."""

    def __init__(self) -> None:
        self._met = 0
        self._tokens = 0
        self._newest = -1

    def meet(self, sequences: Iterable[RequestState]) -> None:
        """Count those who are new."""
        newest = self._newest
        for sequence in sequences:
            if sequence.order > newest:
                self._met += 1
                self._tokens += sequence.request.final_tokens
                self._newest = max(self._newest, sequence.order)

    @property
    def tokens(self) -> int:
        """The mean, rounded down; 0 before the first request."""
        return self._tokens // self._met if self._met else 0
