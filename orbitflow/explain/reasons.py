"""Why a decision is as it is: what binds, in words and with the figures that show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orbitflow.engine.policy import DataPlane, Policy
from orbitflow.explain.decision import (
    Binding,
    Fate,
    MemoryShown,
    PassShown,
    PlannerShown,
    RequestShown,
)
from orbitflow.machine.pipeline import Overlap
from orbitflow.units import format_count, format_seconds

NOTICEABLE = 1e-3  # of a pass: less stall than that is called hidden
_SOLVED = {
    "search": "the fast search's plan",
    "ilp": "the ILP's plan",
    "kept": "what ran before, as no new plan is worth its moves",
}


def binding_of(memory: MemoryShown, decode: PassShown | None, plane: DataPlane) -> Binding:
    """What keeps the pass from being better."""
    if decode is None:
        return Binding.NOBODY
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
        return f"{over}; to stream no more than them takes the link {link} in every pass"
    fits = f"memory: everything takes {format_count(wanted)} tokens of {format_count(capacity)}"
    if any(row.host_layers for row in rows if row.fate is Fate.RUNS):
        return f"{fits} now; what left made room for growth, or the policy wants it so"
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
    pass_s, tau_s = format_seconds(decode.pass_s), format_seconds(decode.tau_s)
    running = [r.balance_s for r in rows if r.fate is Fate.RUNS and r.balance_s is not None]
    least_s = max(0.0, min(running, default=0.0))
    lasts = int(least_s / (decode.pass_s - decode.tau_s))
    ends = f"lasts {format_count(lasts)} passes" if lasts else "does not last a pass"
    yield (
        f"late tokens: a pass takes {pass_s}, readers take a token every {tau_s}; the smallest "
        f"balance {ends}"
    )


def _left_out(memory: MemoryShown, rows: Sequence[RequestShown], policy: Policy) -> Iterator[str]:
    parked = [row.id for row in rows if row.fate in (Fate.PARKED, Fate.DROPPED)]
    if parked:
        ids = ", ".join(map(str, parked[:8])) + (", ..." if len(parked) > 8 else "")
        yield f"out of the batch: {ids}, so that the others fit or are in time"
    waiting = sum(row.fate is Fate.WAITS for row in rows)
    if waiting:
        share = memory.gpu_pages / memory.gpu_limit_pages
        yield (
            f"admission: {waiting} wait, as it admits when: {policy.admission} "
            f"({100 * share:.0f} % of the GPU's pages are spoken for)"
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
