"""The load of a set of requests: the share of time in which all get their tokens in time.

A request with a balance of b seconds and n tokens to come needs a token every tau' = tau + b / n.
Requests that run together form a turn t. A pass of it takes

    T_t = max(base + sum_r a_r,  page_s (sum_r L A_r - G + ring) + page_s sum_r L A_r / W)

The second argument is the link: pages beyond the GPU's G are streamed in every pass, and, where
there are several turns, the turn's own KV is brought in once every W passes. A turn must run often
enough for its most demanding request:

    load = sum over turns of T_t / min_r tau'_r          all are in time if load <= 1

One turn for all is streaming, one turn for each is pure rotation. Turns are formed greedily, the
largest request first, each put where the load grows least, and compared with one turn for all. The
least load over all turns may be lower.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits


class Demand(NamedTuple):
    """What one request needs: its context, and the seconds that it may take per token."""

    context_tokens: int
    pace_s: float


class Demands(NamedTuple):
    """Several of them, arrays of shape (requests,); tokens in whole numbers."""

    context_tokens: FloatArray
    paces_s: FloatArray

    @classmethod
    def of(cls, demands: Iterable[Demand]) -> Demands:
        """The same as arrays."""
        tokens, paces_s = np.array([*demands], dtype=np.float64).reshape(-1, 2).T
        return cls(tokens, paces_s)


class LoadModel:
    """Loads on one machine. `turn_passes` is W; without `rotates` there is one turn."""

    def __init__(
        self, limits: KvLimits, *, ring_groups: int, turn_passes: int, rotates: bool
    ) -> None:
        self._limits = limits
        self._groups = 0 if limits.ring_is_extra else ring_groups
        self._turn_passes = turn_passes
        self._rotates = rotates

    def of(self, cost: CostModel, standing: Demands, newcomer: Demand) -> float:
        """The load of those who stand already and one more."""
        page_s, alone = cost.page_s, self._turn(*newcomer)
        together = self._together(standing).plus(alone) if len(standing.paces_s) else alone
        in_one = self._share(cost, together, page_s, is_alone=True)
        if together.pages <= self._limits.gpu_pages or not self._rotates:
            return in_one
        turns = self._turns(cost, standing, newcomer, page_s)
        return min(
            in_one,
            sum(self._share(cost, turn, page_s, is_alone=len(turns) == 1) for turn in turns),
        )

    def if_resident(
        self, cost: CostModel, contexts: FloatArray, least_pace_s: float, newcomer: Demand
    ) -> float | None:
        """The same, without a look at paces, where all KV is sure to fit and nobody asks for more
        than the newcomer; None where that is not sure. Nobody's pace is below `least_pace_s`.
        """
        if least_pace_s < newcomer.pace_s:
            return None
        limits, requests = self._limits, len(contexts) + 1
        tokens = int(contexts.sum()) + newcomer.context_tokens
        if limits.layers * (tokens / limits.page_tokens + requests) > limits.gpu_pages:
            return None
        return cost.decode_pass_s(requests, tokens) / newcomer.pace_s

    def alone_s(self, cost: CostModel, context_tokens: int) -> float:
        """Seconds of a pass of one request that has the machine for itself."""
        return self._share(cost, self._turn(context_tokens, 1.0), cost.page_s, is_alone=True)

    def each_alone_s(self, cost: CostModel, context_tokens: FloatArray) -> FloatArray:
        """`alone_s` of each of these contexts, shapes (requests,)."""
        decode, limits = cost.decode_line(1), self._limits
        pass_s: FloatArray = decode.base_s + decode.request_s + decode.token_s * context_tokens
        most = context_tokens.max(initial=0.0)
        if limits.layers * -(-most // limits.page_tokens) <= limits.gpu_pages:
            return pass_s
        pages = self._each_pages(context_tokens)
        over = pages - limits.gpu_pages
        ring = self._groups * pages / limits.layers
        streamed = (over + ring) / (1 - self._groups / limits.layers)
        return np.where(over > 0, np.maximum(pass_s, streamed * cost.page_s), pass_s)

    def _together(self, demands: Demands) -> _Turn:
        sizes = self._each_pages(demands.context_tokens)
        return _Turn(
            len(sizes),
            int(demands.context_tokens.sum()),
            int(sizes.sum()),
            int(sizes.max()),
            float(demands.paces_s.min()),
        )

    def _turns(
        self, cost: CostModel, standing: Demands, newcomer: Demand, page_s: float
    ) -> list[_Turn]:
        turns: list[_Turn] = []
        shares: list[float] = []
        pairs = zip(standing.context_tokens.tolist(), standing.paces_s.tolist(), strict=True)
        for context_tokens, pace_s in sorted([*pairs, newcomer], reverse=True):
            alone = self._turn(int(context_tokens), pace_s)
            options = [*(turn.plus(alone) for turn in turns), alone]
            grown = [self._share(cost, o, page_s, is_alone=not turns) for o in options]
            more = [new - old for new, old in zip(grown, [*shares, 0.0], strict=True)]
            best = more.index(min(more))
            turns[best : best + 1] = [options[best]]
            shares[best : best + 1] = [grown[best]]
        return turns

    def _turn(self, context_tokens: int, pace_s: float) -> _Turn:
        """One request alone."""
        pages = self._limits.layers * -(-context_tokens // self._limits.page_tokens)
        return _Turn(1, context_tokens, pages, pages, pace_s)

    def _each_pages(self, context_tokens: FloatArray) -> FloatArray:
        return self._limits.layers * np.ceil(context_tokens / self._limits.page_tokens)

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

    def plus(self, other: _Turn) -> _Turn:
        """Both together."""
        return _Turn(
            self.requests + other.requests,
            self.tokens + other.tokens,
            self.pages + other.pages,
            max(self.largest, other.largest),
            min(self.pace_s, other.pace_s),
        )
