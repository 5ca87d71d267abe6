"""Whether the machine can feed everybody, by turns if need be.

A request with b seconds of balance and n tokens to come must make one every tau' = tau + b / n.
Requests that run together form a turn t. Its pass takes

    T_t = max(base + sum_r a_r,  page_s (sum_r L A_r - G + ring) + page_s sum_r L A_r / W)

what is beyond the GPU's G pages streamed, and, where there are several turns, its own KV brought in
once every W passes. It must come round often enough for its most pressing request:

    load = sum over turns of T_t / min_r tau'_r          everybody can be fed if load <= 1

One turn is streaming, one for each is pure rotation. Turns are formed greedily, the largest request
first, each put where the load grows least; if one turn for all takes less, that. The true least
load may be lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits


class Mouth(NamedTuple):
    """A request to feed: its context, and the seconds that it may take per token."""

    context_tokens: int
    pace_s: float


class Feeder:
    """Loads on one machine. `turn_passes` is W."""

    def __init__(
        self, limits: KvLimits, *, ring_groups: int, turn_passes: int, rotates: bool
    ) -> None:
        self._limits = limits
        self._groups = 0 if limits.ring_is_extra else ring_groups
        self._turn_passes = turn_passes
        self._rotates = rotates

    def load(self, cost: CostModel, mouths: Sequence[Mouth]) -> float:
        """Share of the time that it takes to feed them all."""
        if not mouths:
            return 0.0
        page_s = cost.page_s
        together = self._together(mouths)
        in_one = self._share(cost, together, page_s, is_alone=True)
        if together.pages <= self._limits.gpu_pages or not self._rotates:
            return in_one
        turns = self._turns(cost, mouths, page_s)
        return min(
            in_one,
            sum(self._share(cost, turn, page_s, is_alone=len(turns) == 1) for turn in turns),
        )

    def alone_s(self, cost: CostModel, context_tokens: int) -> float:
        """Seconds of a pass of one request that has the machine for itself."""
        if self._pages(context_tokens) <= self._limits.gpu_pages:
            return cost.decode_pass_s(1, context_tokens)
        turn = self._together([Mouth(context_tokens, 1.0)])
        return self._share(cost, turn, cost.page_s, is_alone=True)

    def _together(self, mouths: Sequence[Mouth]) -> _Turn:
        sizes = [self._pages(mouth.context_tokens) for mouth in mouths]
        tokens = sum(mouth.context_tokens for mouth in mouths)
        pace_s = min(mouth.pace_s for mouth in mouths)
        return _Turn(len(mouths), tokens, sum(sizes), max(sizes), pace_s)

    def _turns(self, cost: CostModel, mouths: Sequence[Mouth], page_s: float) -> list[_Turn]:
        turns: list[_Turn] = []
        shares: list[float] = []
        for mouth in sorted(mouths, reverse=True):
            alone = self._together([mouth])
            options = [*(turn.plus(mouth, alone.pages) for turn in turns), alone]
            grown = [self._share(cost, o, page_s, is_alone=not turns) for o in options]
            more = [new - old for new, old in zip(grown, [*shares, 0.0], strict=True)]
            best = more.index(min(more))
            turns[best : best + 1] = [options[best]]
            shares[best : best + 1] = [grown[best]]
        return turns

    def _pages(self, context_tokens: int) -> int:
        return self._limits.layers * -(-context_tokens // self._limits.page_tokens)

    def _share(self, cost: CostModel, turn: _Turn, page_s: float, *, is_alone: bool) -> float:
        over = turn.pages - self._limits.gpu_pages
        streamed = 0.0
        if over > 0:
            layers = self._limits.layers
            ring = self._groups * turn.largest / layers
            streamed = (over + ring) / (1 - self._groups / layers)
        if not is_alone:
            streamed += turn.pages / self._turn_passes
        pass_s = max(cost.decode_pass_s(turn.requests, turn.tokens), streamed * page_s)
        return pass_s / turn.pace_s


class _Turn(NamedTuple):
    """Requests that run together."""

    requests: int
    tokens: int
    pages: int  # of all layers
    largest: int  # pages of the largest request
    pace_s: float

    def plus(self, mouth: Mouth, pages: int) -> _Turn:
        """One more."""
        return _Turn(
            self.requests + 1,
            self.tokens + mouth.context_tokens,
            self.pages + pages,
            max(self.largest, pages),
            min(self.pace_s, mouth.pace_s),
        )
