"""What a request costs a machine at the least, whatever else runs there.

A pass that decodes n requests of contexts c_r and computes chunks takes

    T >= base + sum (request + token c_r) + chunks          compute
    T >= (sum pages(c_r) - GPU pages) page_bytes / link     what the GPU cannot hold must cross

so for every 0 <= x <= 1 also (1 - x) times the first plus x times the second. Its part per pass,
(1 - x) base - x cache_s, is shared by at most `slots` tokens while it is not negative; the rest is
a sum over tokens. Each such price list charges no schedule more than the time it takes.
`docs/bound.md` has the derivation; KV is counted as in `orbitflow.memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import PassFloor
from orbitflow.memory import KvLimits
from orbitflow.request import Request
from orbitflow.slo import LATE_TOLERANCE_S, Slo

Limit = TypeVar("Limit", float, FloatArray)


def eased(seconds: Limit) -> Limit:
    """A limit with room for rounding."""
    return seconds + 1e-9 * (1 + abs(seconds))


class SharedMachine(NamedTuple):
    """What all requests share."""

    base_s: float  # of a pass that decodes
    overhead_s: float  # least time of a pass with a chunk, the chunk left out
    cache_s: float  # link time of as much KV as the GPU holds
    page_s: float  # link time of one page, at the link's best
    slots: int  # most requests admitted at once
    floor: PassFloor
    limits: KvLimits

    def token_s(self, contexts: IntArray) -> FloatArray:
        """Compute that one request of such a context adds to a pass."""
        return np.asarray(self.floor.request_s + self.floor.context_s * contexts, dtype=np.float64)

    @property
    def mix(self) -> float:
        """The x at which a pass costs nothing by itself and tokens pay by their pages."""
        return self.base_s / (self.base_s + self.cache_s)

    @property
    def mixes(self) -> tuple[float, float]:
        """The price lists in use: a request's total is linear in x between these two."""
        return 0.0, self.mix


class Work(NamedTuple):
    """Least work and latest moments of requests in order of arrival, every array (requests,)."""

    prompt: IntArray
    arrival_s: FloatArray
    first_due_s: FloatArray  # when the first token must be out to meet TTFT
    last_due_s: FloatArray  # when the last one must be to meet TPOT as well
    prefill_s: FloatArray
    passes: FloatArray  # decode passes: output tokens - 1
    compute_s: FloatArray  # of its decode, without the passes' base
    kv_s: FloatArray  # link time of its pages, summed over its decode passes
    first_pass_s: FloatArray  # compute of its first decode pass, alone
    last_pass_s: FloatArray
    alone_s: FloatArray  # from first to last token with the machine to itself
    reading_s: FloatArray  # then, at the SLO's pace
    due_s: FloatArray  # tau * passes
    is_certain: BoolArray  # fits in every placement, so that no policy may refuse it

    def take(self, rows: IntArray | BoolArray | slice) -> Work:
        """Some of the requests."""
        return Work._make(column[rows] for column in self)

    def alone_end_s(self, machine: SharedMachine) -> FloatArray:
        """When each would be over with the machine to itself."""
        return self.arrival_s + self.prefill_s + machine.overhead_s + self.alone_s

    def total_s(self, machine: SharedMachine, mix: float) -> FloatArray:
        """All work by the price list of `mix`. A pass with first tokens only costs `overhead_s`;
        with one slot nothing is shared.
        """
        if machine.slots == 1 and not mix:
            alone: FloatArray = self.prefill_s + machine.overhead_s + self.alone_s
            return alone
        per_pass = (1 - mix) * machine.base_s - mix * machine.cache_s
        shared = self.passes * max(0.0, per_pass)
        if not mix:
            shared += min(machine.overhead_s, machine.base_s)
        compute = self.prefill_s + self.compute_s
        total: FloatArray = (1 - mix) * compute + mix * self.kv_s + shared / machine.slots
        return total


def feasible(requests: Sequence[Request], limits: KvLimits) -> list[Request]:
    """The requests that some placement can hold, in order of arrival."""
    ordered = sorted(requests, key=lambda r: r.arrival_s)
    last = np.array([r.prompt_tokens + r.output_tokens - 1 for r in ordered], dtype=np.int64)
    return [ordered[row] for row in np.flatnonzero(_fits(last, limits)).tolist()]


def machine_of(
    requests: Sequence[Request], cost: CostModel, limits: KvLimits, max_batch: int | None
) -> SharedMachine:
    """Read what these requests share; without a batch limit their number is one."""
    slots = max(1, len(requests) if max_batch is None else min(max_batch, len(requests)))
    passes = sum(r.output_tokens - 1 for r in requests)
    floor = cost.passes.floor(slots, passes, sum(r.prompt_tokens for r in requests))
    return SharedMachine(
        floor.base_s,
        floor.overhead_s,
        limits.gpu_pages * _page_s(cost),
        _page_s(cost),
        slots,
        floor,
        limits,
    )


def relax(
    requests: Sequence[Request], machine: SharedMachine, cost: CostModel, slo: Slo, *, deposit: bool
) -> Work:
    """Work of requests that some placement can hold, in order of arrival."""
    limits, floor, alone_line = machine.limits, machine.floor, cost.decode_line(1)
    prompt = np.array([r.prompt_tokens for r in requests], dtype=np.int64)
    passes = np.array([r.output_tokens for r in requests], dtype=np.int64) - 1
    arrival = np.array([r.arrival_s for r in requests])
    tbt_limit = np.array([slo.tbt_limit_of(r) for r in requests])
    ttft = np.array([slo.ttft_of(r, cost) for r in requests])
    page_s, last = _page_s(cost), prompt + passes
    contexts = _steps(last) - _steps(prompt)
    compute = np.asarray(floor.request_s * passes, dtype=np.float64)
    compute += floor.context_s * contexts
    pass_s = np.asarray(alone_line.token_s * (prompt + 1.0), dtype=np.float64)
    pass_s += alone_line.base_s + alone_line.request_s
    alone = np.asarray(alone_line.request_s * passes, dtype=np.float64)
    alone += alone_line.token_s * contexts
    alone += alone_line.base_s * passes
    due: FloatArray = tbt_limit * passes
    reading = np.maximum(due, alone) if deposit else _paced(prompt, passes, tbt_limit, cost)
    whole = limits.layers * _pages(last, limits)
    for row in np.flatnonzero((whole > limits.gpu_pages) & (passes > 0)).tolist():
        alone[row], reading[row] = _streamed(
            int(prompt[row]), int(passes[row]), float(tbt_limit[row]), cost, limits, deposit=deposit
        )
    first_due = arrival + ttft + LATE_TOLERANCE_S
    return Work(
        prompt,
        arrival,
        first_due,
        first_due + (tbt_limit + LATE_TOLERANCE_S) * passes,
        floor.token_s * prompt + floor.pair_s * prompt.astype(np.float64) ** 2 / 2,
        passes.astype(np.float64),
        compute,
        limits.layers * page_s * (_page_steps(last, limits) - _page_steps(prompt, limits)),
        pass_s,
        pass_s + alone_line.token_s * np.maximum(passes - 1, 0),
        alone,
        reading,
        due,
        _is_certain(np.maximum(last, prompt + 1), limits),
    )


def _page_s(cost: CostModel) -> float:
    """Link time of one page at the link's best, in seconds."""
    return cost.page_bytes / max(cost.h2d.bytes_per_s)


def _pages(tokens: IntArray, limits: KvLimits) -> IntArray:
    return -(-tokens // limits.page_tokens)


def _steps(tokens: IntArray) -> FloatArray:
    """Sum of 1..tokens."""
    wide = tokens.astype(np.float64)
    total: FloatArray = wide * (wide + 1) / 2
    return total


def _page_steps(tokens: IntArray, limits: KvLimits) -> FloatArray:
    """Sum of the pages of 1..tokens tokens."""
    full, rest = np.divmod(tokens, limits.page_tokens)
    total: FloatArray = limits.page_tokens * _steps(full) + rest * (full + 1.0)
    return total


# -- what fits -------------------------------------------------------------------------------------


def _least_host_layers(tokens: IntArray, limits: KvLimits) -> IntArray:
    """Fewest host layers that get one request of so many tokens, its tails and a ring of one group
    onto the GPU; 0 if it fits whole, more than there are if nothing helps.
    """
    pages = _pages(tokens, limits)
    over = limits.layers * pages - limits.gpu_pages
    freed = np.maximum(pages - 1, 0)  # by a layer that leaves: all but the tail
    ring = 0 if limits.ring_is_extra else freed
    needed = -(-(over + ring) // np.maximum(freed, 1))
    needed = np.where(freed > 0, np.maximum(needed, 1), limits.layers + 1)
    least: IntArray = np.where(over > 0, needed, 0)
    return least


def _fits(tokens: IntArray, limits: KvLimits) -> BoolArray:
    """Whether some placement holds a request of so many tokens."""
    host = _least_host_layers(tokens, limits)
    fits: BoolArray = host <= limits.layers
    if limits.host_pages is not None:
        fits &= host * (_pages(tokens, limits) - 1) <= limits.host_pages
    return fits


def _is_certain(tokens: IntArray, limits: KvLimits) -> BoolArray:
    """Whether every placement, with a ring of up to two groups, holds so many tokens."""
    pages = _pages(tokens, limits)
    beyond = 0 if limits.ring_is_extra else pages - 1  # the worst: one layer gone, two in the ring
    certain: BoolArray = limits.layers * pages + beyond <= limits.gpu_pages
    if limits.host_pages is not None:
        certain &= limits.layers * pages <= limits.host_pages
    return certain


# -- one request with the machine to itself --------------------------------------------------------


def _paced(
    prompt: IntArray, passes: IntArray, tbt_limit_s: FloatArray, cost: CostModel
) -> FloatArray:
    """Sum of max(tau, pass) when pass k takes first + token k: those after the k-th are longer."""
    decode = cost.decode_line(1)
    first = decode.base_s + decode.request_s + decode.token_s * prompt
    with np.errstate(divide="ignore", invalid="ignore"):
        short = np.where(
            decode.token_s > 0,
            (tbt_limit_s - first) // decode.token_s,
            (first <= tbt_limit_s) * passes,
        )
    short = np.clip(short, 0, passes)
    long_s = first * (passes - short)
    long_s += decode.token_s * (passes * (passes + 1.0) - short * (short + 1)) / 2
    total: FloatArray = short * tbt_limit_s + long_s
    return total


def _streamed(
    prompt: int,
    passes: int,
    tbt_limit_s: float,
    cost: CostModel,
    limits: KvLimits,
    *,
    deposit: bool,
) -> tuple[float, float]:
    """Least times from the first to the last token, generated and delivered, of a request that
    outgrows the GPU: its passes take the time of compute and of what the GPU cannot hold, and no
    token is out before all that was streamed for it.
    """
    contexts = prompt + 1 + np.arange(passes)
    layer_s, _ = cost.stream_s(contexts[:1], passes)
    host = _least_host_layers(contexts, limits)
    decode = cost.decode_line(1)
    compute = decode.base_s + decode.request_s + decode.token_s * contexts
    compute = compute + cost.link_slowdown * np.minimum(compute, host * layer_s)
    # To prefetch for a pass that must stream, the passes before it must stream a layer as well.
    link = np.where(host > 0, host * layer_s, np.minimum(compute, layer_s))
    spans = compute
    if not limits.ring_is_extra:
        beyond = limits.layers * _pages(contexts, limits) - limits.gpu_pages
        spans = np.maximum(compute, beyond * _page_s(cost))
    ends = np.cumsum(spans)
    waits = np.maximum.accumulate(np.maximum(np.cumsum(link) - ends, 0.0))
    ends += waits
    alone_s, due_s = float(ends[-1]), tbt_limit_s * passes
    if deposit:
        left = tbt_limit_s * np.arange(passes - 1, -1, -1)
        return alone_s, max(due_s, float((ends + left).max()))
    return alone_s, max(alone_s, float(np.maximum(spans, tbt_limit_s).sum()))
