"""Whether the longest prompts get their share of first tokens in time.

    in time(longest tenth) < FAIR in time(all)      shares of the last MEMORY whose fate is known

A request's fate is known when it is let in (in time, if it can still make its TTFT limit) or when
it cannot make it any more. A long prompt makes many readers wait, and takes the room of several
short ones: an order that counts requests alone would shut them out wherever it cannot serve all.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

FAIR = 0.65  # of what all attain; asked is a half, and what is late already cannot be mended
LONGEST = 0.1
MEMORY = 512
LEAST_KNOWN = 50  # fates, before which nobody is favoured


class _Fate(NamedTuple):
    prompt_tokens: int
    in_time: bool


class FairShare:
    """Remembers fates."""

    def __init__(self) -> None:
        self._fates: deque[_Fate] = deque(maxlen=MEMORY)
        self._least_owed: int | None = None
        self._is_known = True

    def book(self, prompt_tokens: int, *, in_time: bool) -> None:
        """A request's fate is known."""
        self._fates.append(_Fate(prompt_tokens, in_time))
        self._is_known = False

    @property
    def least_owed(self) -> int | None:
        """Prompt tokens from which on requests get less than their share; None: nobody does."""
        if not self._is_known:
            self._least_owed, self._is_known = self._looked_up(), True
        return self._least_owed

    def is_owed(self, prompt_tokens: int) -> bool:
        """Whether it is one of the longest, and these get less than their share."""
        least = self.least_owed
        return least is not None and prompt_tokens >= least

    def _looked_up(self) -> int | None:
        if len(self._fates) < LEAST_KNOWN:
            return None
        sizes = sorted(fate.prompt_tokens for fate in self._fates)
        least = sizes[int((1 - LONGEST) * len(sizes))]
        longest = [fate.in_time for fate in self._fates if fate.prompt_tokens >= least]
        made, made_by_all = sum(longest), sum(fate.in_time for fate in self._fates)
        is_owed = made * len(self._fates) < FAIR * made_by_all * len(longest)
        return least if is_owed else None
