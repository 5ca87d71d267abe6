"""What is shown of one decision, in seconds, bytes, tokens and pages, and the reasons for it.

Times are those of a pass in steady state: every active request decodes, KV lies where the decision
wants it, and prefetching runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orbitflow.engine.policy import DataPlane, Policy
from orbitflow.machine.pipeline import Overlap
from orbitflow.placement import HostLayers
from orbitflow.units import format_count, format_seconds

NOTICEABLE = 1e-3  # of a pass: less stall than that is called hidden
_SOLVED = {
    "search": "the fast search's plan",
    "ilp": "the ILP's plan",
    "kept": "the plan in force, as no new plan is worth its moves",
}


class Fate(StrEnum):
    """What a decision does with a request."""

    RUNS = "runs"
    ADMITTED = "admitted"  # its prompt is prefilled, or is about to be
    PAUSED = "paused"
    DROPPED = "dropped"  # lost its KV, which is computed again once it is resumed
    WAITS = "waits"


class Binding(StrEnum):
    """What keeps a pass, or the batch, from being better."""

    COMPUTE = "compute"  # everything fits
    MEMORY = "memory"  # KV had to leave, but its streaming is hidden
    LINK = "link"  # streaming stalls the pass
    HOST = "host"  # the CPU's work on KV stalls the pass
    IDLE = "idle"  # no request decodes


@dataclass(frozen=True, slots=True)
class RequestShown:
    """One request after the decision. `context_tokens` is that of its next decode pass.
    `balance_s` is the time until its next token is due, below 0 if that is overdue.
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
    tbt_limit_s: float  # the tightest limit among who decodes

    @property
    def is_in_time(self) -> bool:
        """Whether such passes meet the limit on the time between tokens."""
        return self.pass_s <= self.tbt_limit_s


@dataclass(frozen=True, slots=True)
class MemoryShown:
    """The KV account at the window's end. `wanted_tokens`: all KV of admitted requests, now."""

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
    """The planner's answer, by its own formulas."""

    by: str
    is_proven: bool
    asked_solver: bool  # because the fast search had proven too little
    passes: int
    loss: float
    late_tokens: float
    pass_s: float
    first_pass_s: float
    moved_pages: int
    paused: int
    trouble: str | None


@dataclass(frozen=True, slots=True)
class DecisionShown:
    """One decision of one policy. `window` None: KV is reserved to the end of every request."""

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


def binding_of(memory: MemoryShown, decode: PassShown | None, plane: DataPlane) -> Binding:
    """What keeps the pass from being better."""
    if decode is None:
        return Binding.IDLE
    if decode.stall_s > NOTICEABLE * decode.pass_s:
        return Binding.HOST if plane.host_read.needs_host else Binding.LINK
    return Binding.MEMORY if memory.excess_tokens else Binding.COMPUTE


def reasons(
    binding: Binding,
    memory: MemoryShown,
    decode: PassShown | None,
    rows: Sequence[RequestShown],
    planner: PlannerShown | None,
    policy: Policy,
) -> Iterator[str]:
    """One line for each thing that matters."""
    yield _memory(memory, rows, policy.data_plane)
    if decode is not None:
        yield _pass(binding, decode, policy.data_plane)
        yield from _slo(decode, rows)
    yield from _left_out(memory, rows, policy)
    if planner is not None:
        yield from _planned(planner)


def _memory(memory: MemoryShown, rows: Sequence[RequestShown], plane: DataPlane) -> str:
    wanted, capacity = memory.wanted_tokens, memory.capacity_tokens
    if memory.excess_tokens:
        over = (
            f"memory: everything on the GPU would take {format_count(wanted)} tokens of "
            f"{format_count(capacity)}, so {format_count(memory.excess_tokens)} must leave"
        )
        if plane.host_read.needs_host or not plane.ring_groups:
            return over
        link = format_seconds(memory.excess_link_s)
        return f"{over}; streaming only these keeps the link busy for {link} in every pass"
    fits = f"memory: everything takes {format_count(wanted)} tokens of {format_count(capacity)}"
    if any(row.host_layers for row in rows if row.fate is Fate.RUNS):
        return f"{fits} now; some left to make room for growth, or by the policy's rule"
    return f"{fits}, so nothing has to leave"


def _pass(binding: Binding, decode: PassShown, plane: DataPlane) -> str:
    compute, link = format_seconds(decode.compute_s), format_seconds(decode.link_s)
    stall = format_seconds(decode.stall_s)
    if binding is Binding.HOST:
        return f"host-bound: the CPU's work on KV adds {stall} to {compute} of compute"
    if binding is Binding.LINK:
        if plane.overlap is Overlap.SERIAL:
            return f"link-bound: nothing overlaps, so streaming adds {stall} to {compute}"
        if decode.link_s > decode.compute_s:
            return f"link-bound: streaming takes {link}, compute {compute}"
        return (
            f"link: streaming takes {link} of {compute} compute, but comes late for its layers: "
            f"{stall} stall"
        )
    if decode.link_s:
        return f"compute-bound: streaming takes {link} and hides behind {compute} of compute"
    return f"compute-bound: {compute} a pass, nothing is streamed"


def _slo(decode: PassShown, rows: Sequence[RequestShown]) -> Iterator[str]:
    if decode.is_in_time:
        return
    pass_s, tbt_limit_s = format_seconds(decode.pass_s), format_seconds(decode.tbt_limit_s)
    running = [r.balance_s for r in rows if r.fate is Fate.RUNS and r.balance_s is not None]
    least_s = max(0.0, min(running, default=0.0))
    lasts = int(least_s / (decode.pass_s - decode.tbt_limit_s))
    ends = f"lasts {format_count(lasts)} passes" if lasts else "does not last a pass"
    yield (
        f"late tokens: a pass takes {pass_s}, a token is due every {tbt_limit_s}; the smallest "
        f"balance {ends}"
    )


def _left_out(memory: MemoryShown, rows: Sequence[RequestShown], policy: Policy) -> Iterator[str]:
    paused = [row.id for row in rows if row.fate in (Fate.PAUSED, Fate.DROPPED)]
    if paused:
        ids = ", ".join(map(str, paused[:8])) + (", ..." if len(paused) > 8 else "")
        yield f"paused: {ids}, so that the others fit or are in time"
    waiting = sum(row.fate is Fate.WAITS for row in rows)
    if waiting:
        share = memory.gpu_pages / memory.gpu_limit_pages
        yield (
            f"admission: {waiting} waiting; the policy admits when: {policy.admission} "
            f"({100 * share:.0f} % of the GPU's pages are reserved)"
        )


def _planned(planner: PlannerShown) -> Iterator[str]:
    proven = "proven" if planner.is_proven else "not proven"
    if planner.asked_solver:
        proven += " by the ILP" if planner.by != "ilp" and planner.is_proven else ""
    yield (
        f"planner: {_SOLVED.get(planner.by, planner.by)}, {proven}; over "
        f"{planner.passes} passes {planner.late_tokens:.3g} late tokens, loss {planner.loss:.3g}, "
        f"pass {format_seconds(planner.pass_s)}, {format_count(planner.moved_pages)} pages loaded"
    )
    if planner.trouble:
        yield f"planner: {planner.trouble}"
