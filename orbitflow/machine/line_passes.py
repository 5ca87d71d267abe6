"""How long a pass computes, by two lines: of published fits and of profiles up to schema 2.

    decode of n requests, contexts c      base + request n + token sum(c)
    a chunk of k tokens behind x          bend(k) (token_p k + pair_p k (x + k / 2))
    a pass with chunks                    the decode, or base_p where nothing decodes, + the chunks

`orbitflow.machine.pass_fit` has the other form, and answers the same questions. NumPy is loaded by
those who ask: reading a profile does not need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orbitflow.codec import Positive
from orbitflow.machine import ranges

if TYPE_CHECKING:
    from orbitflow.arrays import FloatArray, IntArray


class Chunk(Protocol):
    """A piece of a prompt: `tokens` of it behind `start` others."""

    @property
    def start(self) -> int:
        """Tokens before it."""

    @property
    def tokens(self) -> int:
        """Tokens in it."""


class PassFloor(NamedTuple):
    """A line that no pass is below; see `orbitflow.bound`. All in seconds.

    decode of n requests    base + request n + context sum(c)
    chunks of k behind x    overhead + token k + pair k (x + k / 2), beside decode without overhead
    """

    base_s: float
    request_s: float
    context_s: float
    overhead_s: float
    token_s: float
    pair_s: float


@dataclass(frozen=True, slots=True)
class DecodeFit:
    """Coefficients of a decode pass; `outside_s` is the part of `base_s` outside the layers."""

    base_s: ranges.PassTime
    request_s: ranges.TokenTime
    token_s: ranges.TokenTime
    outside_s: ranges.Time

    def __post_init__(self) -> None:
        if self.outside_s > self.base_s:
            raise ValueError(f"outside_s is {self.outside_s}: at most base_s, {self.base_s}")


@dataclass(frozen=True, slots=True)
class Bend:
    """What a line is off by, as factors at some sizes: linear between them, constant outside."""

    tokens: tuple[Positive, ...]
    factors: tuple[ranges.Factor, ...]

    def __post_init__(self) -> None:
        require_points("tokens", self.tokens, "factors", self.factors)


@dataclass(frozen=True, slots=True)
class PrefillFit:
    """Coefficients of a prefill; `pair_s` is the cost of one token that attends to another. A
    `bend`, by the tokens of a piece, corrects what they make of the piece; not the base.
    """

    base_s: ranges.Time
    token_s: ranges.PrefillTime
    pair_s: ranges.TokenTime
    bend: Bend | None = None


def require_points(xs: str, at: Sequence[float], ys: str, values: Sequence[float]) -> None:
    """Raise a ValueError unless these are points in order."""
    if not at or len(at) != len(values):
        raise ValueError(f"{xs} and {ys} must have one or more points, equally many")
    if any(after <= before for before, after in pairwise(at)):
        raise ValueError(f"{xs} {list(at)} must rise: sort the points")


@dataclass(frozen=True, slots=True)
class LinePasses:
    """Passes that follow two lines."""

    decode: DecodeFit
    prefill: PrefillFit

    @property
    def context_s(self) -> float:
        """What a token of context adds to a decode pass."""
        return self.decode.token_s

    @property
    def outside_s(self) -> float:
        """The part of a pass outside the layers."""
        return self.decode.outside_s

    @property
    def lone_s(self) -> float:
        """A pass that decodes nothing, its chunks left out."""
        return self.prefill.base_s

    def decode_s(self, requests: float, context_tokens: float) -> float:
        """Time of a decode pass."""
        d = self.decode
        return d.base_s + d.request_s * requests + d.token_s * context_tokens

    def line(self, requests: float) -> DecodeFit:
        """The line of decode passes with up to so many requests."""
        return self.decode

    def chunk_s(self, tokens: int, prior: int) -> float:
        """What a chunk adds to a pass."""
        p = self.prefill
        seconds = p.token_s * tokens + p.pair_s * tokens * (prior + tokens / 2)
        if p.bend is None:
            return seconds
        from numpy import interp

        return seconds * float(interp(tokens, p.bend.tokens, p.bend.factors))

    def mixed_s(self, chunks: Sequence[Chunk], requests: float, context_tokens: float) -> float:
        """Time of a pass with chunks."""
        time = self.decode_s(requests, context_tokens) if requests else self.prefill.base_s
        for chunk in chunks:
            time += self.chunk_s(chunk.tokens, chunk.start)
        return time

    def prefills_s(self, tokens: IntArray) -> FloatArray:
        """Times of whole prompts, each alone in its pass, shape as `tokens`."""
        from numpy import interp

        p, counts = self.prefill, tokens.astype(float)
        seconds: FloatArray = p.token_s * counts + p.pair_s * counts**2 / 2
        if p.bend is not None:
            seconds = seconds * interp(counts, p.bend.tokens, p.bend.factors)
        return p.base_s + seconds

    def floor(self, slots: int, passes: float, prompt_tokens: float) -> PassFloor:
        """A line below all passes; its own lines are the best one whatever the workload is."""
        d, p = self.decode, self.prefill
        least = 1.0 if p.bend is None else min(p.bend.factors)  # in whatever pieces
        mixed_s = d.base_s + d.request_s + 2 * d.token_s  # the least context is 2
        overhead_s = p.base_s if slots == 1 else min(p.base_s, mixed_s)
        return PassFloor(
            d.base_s, d.request_s, d.token_s, overhead_s, least * p.token_s, least * p.pair_s
        )

    def slower(self, factor: float) -> LinePasses:
        """The passes of a machine on which they take `factor` times as long."""
        d, p = self.decode, self.prefill
        return LinePasses(
            DecodeFit(
                d.base_s * factor, d.request_s * factor, d.token_s * factor, d.outside_s * factor
            ),
            replace(
                p,
                base_s=p.base_s * factor,
                token_s=p.token_s * factor,
                pair_s=p.pair_s * factor,
            ),
        )
