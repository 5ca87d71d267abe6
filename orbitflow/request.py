"""A request, and what becomes of it in the server: what is done, what is left, where its KV lies.

A running request gets one token per decode pass, so its progress is a difference of pass numbers
and costs nothing per pass:  generated = generated_before + (passes now - since_pass).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from orbitflow.placement import HostLayers


class Request(NamedTuple):
    """What a user asks for: when, how long a prompt, how many tokens.

    `slo_tbt_s` and `slo_ttft_s` are the request's own limits; None takes the run's.
    """

    id: int
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    slo_tbt_s: float | None = None
    slo_ttft_s: float | None = None

    @property
    def final_tokens(self) -> int:
        """KV held when the last token comes out; that token's own KV is never written."""
        return self.prompt_tokens + self.output_tokens - 1


Span = tuple[int, int]  # passes [a, b)


class Phase(StrEnum):
    """Where an admitted request is in its life."""

    PREFILL = "prefill"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class RequestState:
    """One admitted request. `host`: layers whose KV is on the host now; `target`: those that the
    last decision wants there.
    """

    request: Request
    admitted_s: float
    tbt_limit_s: float
    host: HostLayers
    target: HostLayers
    phase: Phase = Phase.PREFILL
    prefilled_tokens: int = 0
    prefill_goal: int = field(init=False)  # the prompt and, after a drop, what was generated
    generated_before: int = 0
    since_pass: int = 0
    history: list[float | Span] = field(default_factory=list)  # tokens of prefills, finished runs
    order: int = 0  # of arrival
    paused_s: float = 0.0
    paused_since_s: float = 0.0  # valid while paused

    @property
    def id(self) -> int:
        """The request's id."""
        return self.request.id

    def __post_init__(self) -> None:
        self.prefill_goal = self.request.prompt_tokens

    @property
    def needs_prefill(self) -> bool:
        """Whether the next token comes out of a prefill."""
        return self.prefilled_tokens < self.prefill_goal

    @property
    def streamed_layers(self) -> HostLayers:
        """Layers whose KV must come over the link in the next pass: on the host now, or leaving the
        GPU.
        """
        if self.host is self.target or self.host == self.target:
            return self.host
        return tuple(sorted({*self.host, *self.target}))

    @property
    def finish_pass(self) -> int:
        """Pass number at which the last token is out, if it keeps running."""
        return self.since_pass + self.request.output_tokens - self.generated_before

    def generated_tokens(self, passes: int) -> int:
        """Tokens generated when `passes` passes have been made."""
        if self.phase is Phase.RUNNING:
            return self.generated_before + passes - self.since_pass
        return self.generated_before

    def context_tokens(self, passes: int) -> int:
        """Context of its next decode pass, the token being decoded included."""
        if self.phase is Phase.RUNNING:
            return self.request.prompt_tokens + self.generated_before + passes - self.since_pass
        tokens = self.request.prompt_tokens + self.generated_before
        return tokens + 1 if self.needs_prefill else tokens

    def drop(self) -> None:
        """Lose all KV: prompt and generated tokens must be prefilled again."""
        self.prefilled_tokens = 0
        self.prefill_goal = self.request.prompt_tokens + self.generated_before

    def prefilled(self, now_s: float) -> None:
        """The prefill is done, and a token came out of it."""
        self.generated_before += 1
        self.history.append(now_s)

    def start(self, passes: int) -> None:
        """Run from the next pass on."""
        self.phase = Phase.RUNNING
        self.since_pass = passes

    def stop(self, passes: int, phase: Phase) -> None:
        """Stop running after `passes` passes."""
        self.generated_before += passes - self.since_pass
        if passes > self.since_pass:
            self.history.append((self.since_pass, passes))
        self.phase = phase
