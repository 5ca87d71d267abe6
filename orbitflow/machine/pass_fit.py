"""How long a pass of a server computes that decodes and reads prompts in the same passes.

    host + host_p [chunks] + G(n + sum(k)) + request n + context sum(c) (1 + m [chunks])
         + pair sum(k (x + k / 2))          n requests of contexts c, chunks of k tokens behind x

G is the time of what is done once for each token, such as matrix products. It is linear between its
knots, constant before the first, and as steep after the last as before it. It is a function of ALL
tokens of the pass: beside a decode batch a small chunk no longer hides behind the reading of the
weights. `host` is the server's own time (scheduling, launches, sampling): the GPU waits, the link
does not. Schema 3 of profiles; `orbitflow.machine.line_passes` has the older form.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from orbitflow.codec import Positive
from orbitflow.machine import ranges
from orbitflow.machine.line_passes import Chunk, DecodeFit, LinePasses, PassFloor, require_points

if TYPE_CHECKING:
    from orbitflow.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class PassFit:
    """Passes of a server that decodes and reads prompts in the same passes. Times in seconds.

    `token_s` is G at `tokens`. `outside_s` is the part of G outside the layers. `beside_chunks` is
    m: by how much attention of decode takes longer in a pass with chunks.
    """

    host_s: ranges.Time
    chunk_host_s: ranges.Time
    tokens: tuple[Positive, ...]
    token_s: tuple[ranges.PassTime, ...]
    outside_gpu_s: ranges.Time
    request_s: ranges.TokenTime
    context_s: ranges.TokenTime
    beside_chunks: ranges.Slowdown
    pair_s: ranges.TokenTime

    def __post_init__(self) -> None:
        require_points("tokens", self.tokens, "token_s", self.token_s)
        if any(after < before for before, after in pairwise(self.token_s)):
            raise ValueError(f"token_s {list(self.token_s)} must not fall")
        if self.outside_gpu_s > self.token_s[0]:
            raise ValueError(
                f"outside_gpu_s is {self.outside_gpu_s}: at most token_s[0], {self.token_s[0]}"
            )

    @property
    def outside_s(self) -> float:
        """The part of a pass outside the layers, host time included."""
        return self.host_s + self.outside_gpu_s

    @property
    def lone_s(self) -> float:
        """A pass that decodes nothing, its chunks left out."""
        return self.host_s + self.token_s[0]

    def tokens_s(self, tokens: float) -> float:
        """G: what is done once for each of so many tokens."""
        at, values = self.tokens, self.token_s
        place = bisect_right(at, tokens)
        if not place or len(at) == 1:
            return values[0]
        place = min(place, len(at) - 1)
        before, slope = at[place - 1], self._slope(place)
        return values[place - 1] + (tokens - before) * slope

    def _slope(self, place: int) -> float:
        return (self.token_s[place] - self.token_s[place - 1]) / (
            self.tokens[place] - self.tokens[place - 1]
        )

    def decode_s(self, requests: float, context_tokens: float) -> float:
        """Time of a decode pass."""
        return (
            self.host_s
            + self.tokens_s(requests)
            + self.request_s * requests
            + self.context_s * context_tokens
        )

    def line(self, requests: float) -> DecodeFit:
        """The line through decode passes of one request and of so many: exact for both. Planners
        price one request more or less by it.
        """
        one_s = self.tokens_s(1)
        rise_s = (self.tokens_s(requests) - one_s) / (requests - 1) if requests > 1 else 0.0
        return DecodeFit(
            self.host_s + one_s - rise_s,
            self.request_s + rise_s,
            self.context_s,
            min(self.outside_s, self.host_s + one_s - rise_s),
        )

    def chunk_s(self, tokens: int, prior: int) -> float:
        """What a chunk adds to a pass that nothing decodes in."""
        more_s = self.tokens_s(tokens) - self.token_s[0]
        return self.chunk_host_s + more_s + self.pair_s * tokens * (prior + tokens / 2)

    def mixed_s(self, chunks: Sequence[Chunk], requests: float, context_tokens: float) -> float:
        """Time of a pass with chunks."""
        tokens, pairs = requests, 0.0
        for chunk in chunks:
            tokens += chunk.tokens
            pairs += chunk.tokens * (chunk.start + chunk.tokens / 2)
        return (
            self.host_s
            + self.chunk_host_s
            + self.tokens_s(tokens)
            + self.request_s * requests
            + self.context_s * context_tokens * (1 + self.beside_chunks)
            + self.pair_s * pairs
        )

    def prefills_s(self, tokens: IntArray) -> FloatArray:
        """Times of whole prompts, each alone in its pass, shape as `tokens`."""
        from numpy import interp

        counts = tokens.astype(float)
        alone: FloatArray = interp(counts, self.tokens, self.token_s)
        if len(self.tokens) > 1:
            beyond = (counts - self.tokens[-1]).clip(min=0.0)
            alone += beyond * self._slope(len(self.tokens) - 1)
        alone += self.host_s + self.chunk_host_s
        alone += self.pair_s * counts**2 / 2
        return alone

    def floor(self, slots: int, passes: float, prompt_tokens: float) -> PassFloor:
        """A line below all passes: of those below G the one that asks most of a workload of so
        many decode passes, summed over requests, and prompt tokens.
        """
        best = max(
            self._lines_below(),
            key=lambda line: passes / slots * line[0] + (passes + prompt_tokens) * line[1],
        )
        base_s = self.host_s + best[0]
        return PassFloor(
            base_s,
            self.request_s + best[1],
            self.context_s,
            base_s + self.chunk_host_s,
            best[1],
            self.pair_s,
        )

    def _lines_below(self) -> list[tuple[float, float]]:
        """Lines (at zero, slope) that G touches from above, none of them negative at zero."""
        points = [(0.0, self.token_s[0]), *zip(self.tokens, self.token_s, strict=True)]
        if len(self.tokens) > 1:
            last = self._slope(len(self.tokens) - 1)
            points.append((2 * points[-1][0], points[-1][1] + last * points[-1][0]))
        slopes = {0.0, min(y / x for x, y in points if x)}
        slopes.update((d - b) / (c - a) for (a, b), (c, d) in pairwise(points))
        steepest = (points[-1][1] - points[-2][1]) / (points[-1][0] - points[-2][0])
        lines = [(min(y - slope * x for x, y in points), slope) for slope in sorted(slopes)]
        return [line for line in lines if line[0] >= 0 and line[1] <= steepest]

    def slower(self, factor: float) -> PassFit:
        """The passes of a machine on which they take `factor` times as long."""
        return replace(
            self,
            host_s=self.host_s * factor,
            chunk_host_s=self.chunk_host_s * factor,
            token_s=tuple(seconds * factor for seconds in self.token_s),
            outside_gpu_s=self.outside_gpu_s * factor,
            request_s=self.request_s * factor,
            context_s=self.context_s * factor,
            pair_s=self.pair_s * factor,
        )


PassTimes = LinePasses | PassFit
