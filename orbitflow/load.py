"""How much a trace asks of a machine, before anything is simulated.

prefill load   sum of isolated prefill times / span
decode load    sum over tokens of (full pass time / requests in a full pass) / span
KV wanted      what would be held if every request were admitted on arrival and ran at the speed of
               a full pass, prefill first; swept over time, relative to the KV capacity

Prefill and decode together above 1 mean that no schedule keeps up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.machine.cost import CostModel


@dataclass(frozen=True, slots=True)
class OfferedLoad:
    """Shares are of 1 server; KV figures are relative to the KV capacity."""

    span_s: float
    prefill: float
    decode: float
    kv_mean: float
    kv_peak: float
    kv_time_over: float  # share of time in which more KV is wanted than the GPU holds

    @property
    def compute(self) -> float:
        """Prefill and decode together."""
        return self.prefill + self.decode


def offered_load(
    arrival_s: FloatArray,
    prompt_tokens: npt.NDArray[np.int64],
    output_tokens: npt.NDArray[np.int64],
    cost: CostModel,
    capacity_tokens: int,
    max_batch: int | None,
) -> OfferedLoad:
    """Estimate the load. A trace without duration (a burst) has the span of its own work."""
    final = prompt_tokens + output_tokens
    in_pass = max(1.0, capacity_tokens / float(final.mean()))
    if max_batch is not None:
        in_pass = min(in_pass, max_batch)
    pass_s = cost.decode_pass_s(in_pass, in_pass * float(final.mean()))
    prefill_s = cost.prefills_s(prompt_tokens)
    stay_s = prefill_s + output_tokens * pass_s
    work_prefill_s = float(prefill_s.sum())
    work_decode_s = float(output_tokens.sum()) * pass_s / in_pass
    span_s = float(arrival_s[-1] - arrival_s[0]) or work_prefill_s + work_decode_s
    held = prompt_tokens + output_tokens / 2
    times = np.concatenate([arrival_s, arrival_s + stay_s])
    change = np.concatenate([held, -held])
    order = np.argsort(times, kind="stable")
    wanted = np.cumsum(change[order])[:-1] / capacity_tokens
    lasts = np.diff(times[order])
    whole = float(lasts.sum()) or 1.0
    return OfferedLoad(
        span_s,
        work_prefill_s / span_s,
        work_decode_s / span_s,
        float((wanted * lasts).sum()) / whole,
        float(wanted.max()),
        float(lasts[wanted > 1].sum()) / whole,
    )
