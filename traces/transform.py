"""What-if versions of a trace: denser, longer, shorter, shaken.

The first `num_requests` are taken before anything else, so a prefix of a scaled trace is the
scaled prefix. Arrivals stay in order: a gap times 1 + u with |u| < 1 is never negative.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.errors import UserError
from orbitflow.traces.trace import MAX_SPAN_S, MAX_TOKENS, Trace, on_grid


def scaled(
    trace: Trace,
    *,
    rate_scale: float = 1.0,
    context_scale: float = 1.0,
    output_scale: float = 1.0,
    num_requests: int | None = None,
    arrival_jitter: float = 0.0,
    seed: int = 0,
) -> Trace:
    """Return the trace with its arrival rate and its lengths multiplied.

    `arrival_jitter` x multiplies every gap by 1 + u, u uniform in [-x, x], drawn from `seed`.
    Lengths are rounded, and at least 1. Raise a UserError for a value out of range.
    """
    _check_scale("--rate-scale", rate_scale)
    _check_scale("--context-scale", context_scale)
    _check_scale("--output-scale", output_scale)
    if not (math.isfinite(arrival_jitter) and 0 <= arrival_jitter < 1):
        raise UserError(f"--arrival-jitter {arrival_jitter}: must be at least 0 and less than 1")
    trace = _first(trace, num_requests)
    arrival = trace.arrival
    if arrival_jitter:
        arrival = _jittered(arrival, arrival_jitter, seed)
    if rate_scale != 1:
        if float(arrival[-1]) / rate_scale > MAX_SPAN_S:
            raise UserError(
                f"--rate-scale {rate_scale}: would last over {MAX_SPAN_S:.0e} s; use more"
            )
        arrival = arrival / rate_scale
    return replace(
        trace,
        arrival=arrival if arrival is trace.arrival else on_grid(arrival),
        prompt_tokens=_lengths(trace.prompt_tokens, context_scale, "--context-scale"),
        output_tokens=_lengths(trace.output_tokens, output_scale, "--output-scale"),
    )


def _check_scale(name: str, scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise UserError(f"{name} {scale}: must be finite and more than 0, such as 0.5 or 2")


def _first(trace: Trace, count: int | None) -> Trace:
    if count is None or count == len(trace):
        return trace
    if count < 1:
        raise UserError(f"{count} requests: must be at least 1")
    if count > len(trace):
        notice = f"{trace.name}: {count:,} requests wanted, the trace has {len(trace):,}"
        return replace(trace, notices=(*trace.notices, notice))
    return _part(trace, slice(count))


def _part(trace: Trace, part: slice) -> Trace:
    return replace(
        trace,
        arrival=trace.arrival[part],
        prompt_tokens=trace.prompt_tokens[part],
        output_tokens=trace.output_tokens[part],
        slo_tbt_s=None if trace.slo_tbt_s is None else trace.slo_tbt_s[part],
        slo_ttft_s=None if trace.slo_ttft_s is None else trace.slo_ttft_s[part],
    )


def between(trace: Trace, from_s: float = 0.0, to_s: float | None = None) -> Trace:
    """Return the requests that arrive from `from_s` on and before `to_s`, seconds since the first
    of the trace; their own arrivals count from the first that is left.

    Raise a UserError if none is left, or if arrivals are in engine steps.
    """
    if trace.arrival_unit != "s":
        raise UserError(f"{trace.name}: arrivals are in engine steps; `trace convert` it first")
    if to_s is not None and to_s <= from_s:
        raise UserError(f"--to {to_s:g}s: must be after --from {from_s:g}s")
    begin, end = np.searchsorted(trace.arrival, (from_s, math.inf if to_s is None else to_s))
    if begin == end:
        until = "its end" if to_s is None else f"{to_s:g} s"
        last = f"{float(trace.arrival[-1]):g} s"
        raise UserError(
            f"{trace.name}: no requests from {from_s:g} s to {until}; it has them from 0 to {last}"
        )
    left = _part(trace, slice(int(begin), int(end)))
    return replace(left, arrival=on_grid(left.arrival - left.arrival[0]))


def _jittered(arrival: FloatArray, jitter: float, seed: int) -> FloatArray:
    if seed < 0:
        raise UserError(f"seed {seed}: must be at least 0")
    rng = np.random.Generator(np.random.PCG64(seed))
    gaps = np.diff(arrival)
    gaps *= 1 + jitter * (2 * rng.random(len(gaps)) - 1)
    return np.concatenate((arrival[:1], arrival[0] + np.cumsum(gaps)))


def _lengths(tokens: IntArray, scale: float, name: str) -> IntArray:
    if scale == 1:
        return tokens
    longest = float(tokens.max()) * scale
    if longest > MAX_TOKENS:
        raise UserError(
            f"{name} {scale}: a request would have {longest:.3g} tokens; "
            f"the limit is {MAX_TOKENS:,}, use a smaller scale"
        )
    rounded: IntArray = np.maximum(1, np.rint(tokens * scale)).astype(np.int64)
    return rounded
