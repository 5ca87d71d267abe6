"""What is shown of one decision: plain values, in seconds, bytes, tokens and pages.

Times are those of a pass in steady state: everybody active decodes, KV lies where the decision
wants it, and prefetching runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orbitflow.placement import HostLayers


class Fate(StrEnum):
    """What a decision does with a request."""

    RUNS = "runs"
    ADMITTED = "admitted"  # its prompt is prefilled, or is about to be
    PARKED = "parked"
    DROPPED = "dropped"  # lost its KV, which is computed again once it is resumed
    WAITS = "waits"


class Binding(StrEnum):
    """What keeps a pass, or the batch, from being better."""

    COMPUTE = "compute"  # everything fits
    MEMORY = "memory"  # KV had to leave, but its streaming is hidden
    LINK = "link"  # streaming stalls the pass
    HOST = "host"  # the CPU's work on KV stalls the pass
    NOBODY = "nobody"  # nothing decodes


@dataclass(frozen=True, slots=True)
class RequestShown:
    """One request after the decision: its context in its next decode pass, and for how long its
    reader is still fed.
    """

    id: int
    fate: Fate
    context_tokens: int
    balance_s: float | None
    host_layers: HostLayers
    gpu_bytes: int
    streamed_bytes: int  # over the link in every pass


@dataclass(frozen=True, slots=True)
class PassShown:
    """A decode pass in steady state; `stall_s` is what the link or the CPU adds to compute."""

    requests: int
    compute_s: float
    link_s: float
    stall_s: float
    pass_s: float
    h2d_bytes: int
    tau_s: float  # the tightest limit among who decodes

    @property
    def is_in_time(self) -> bool:
        """Whether such passes keep up with the readers."""
        return self.pass_s <= self.tau_s


@dataclass(frozen=True, slots=True)
class MemoryShown:
    """The KV account at the end of the window. `wanted_tokens`: all KV of who was let in, now."""

    wanted_tokens: int
    capacity_tokens: int
    gpu_pages: int
    gpu_limit_pages: int
    ring_pages: int
    ring_is_extra: bool
    host_pages: int
    host_limit_pages: int | None
    page_bytes: int
    link_bytes_per_s: float

    @property
    def excess_tokens(self) -> int:
        """Tokens whose KV cannot stay."""
        return max(0, self.wanted_tokens - self.capacity_tokens)

    @property
    def excess_link_s(self) -> float:
        """Link time of streaming no more than that in every pass."""
        pages = self.excess_tokens * self.gpu_limit_pages / self.capacity_tokens
        return pages * self.page_bytes / self.link_bytes_per_s


@dataclass(frozen=True, slots=True)
class PlannerShown:
    """What the planner says of its answer, by its own formulas."""

    by: str
    is_proven: bool
    asked_solver: bool  # because the fast search had proven too little
    passes: int
    loss: float
    late_tokens: float
    pass_s: float
    first_pass_s: float
    moved_pages: int
    at_rest: int
    trouble: str | None


@dataclass(frozen=True, slots=True)
class DecisionShown:
    """One decision of one policy. `window` None: everybody is reserved to the end."""

    policy: str
    now_s: float
    decided_s: float
    layers: int
    window: int | None
    requests: tuple[RequestShown, ...]
    decode: PassShown | None
    memory: MemoryShown
    planner: PlannerShown | None
    binding: Binding
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotShown:
    """A policy that has no decision to show, and the reason in a sentence."""

    policy: str
    reason: str
