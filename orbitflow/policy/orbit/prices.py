"""What tokens and seconds are worth to `orbit`, in late tokens.

A token of r counts for its share of a full machine, in seconds its own compute and its part of the
base by the memory that it takes, in tokens that over the mean v of all candidates,

    v_r = (a_r + base P_r / G) / v,    P_r = L (F_r + 1) its pages, G those of the GPU

so that serving the short ones first gains nothing: they are cheaper, and counted as such. lambda is
the value of an average token in late ones.

The price of time: no choice of candidates makes more than rho worth of tokens in a second. With s
the least link seconds of a page, sum_run P_r <= min(sum P_r, G + T / s), T >= base + sum_run a_r:

    rho v = min(1 + base / (s G), sum P_r / G)                       if not all fit
            (sum a_r + base sum P_r / G) / (base + sum a_r)          if they do

A window takes the machine for its span; what could have been made in it and is not is charged: the
loss, late tokens + lambda (rho span - W sum_run v_r), is never negative, and windows of any length
compare. A pass counts for no less than most of one of a full machine, or of a limit between tokens,

    least_pass = f min(base + min(1, G / sum P_r) sum a_r, min tbt_r),    f = `least_pass`

for a window of few is over sooner, and would look better by all that the others have not waited
yet: one of seventy ran for a second, and again, while memory stood empty.
"""

from __future__ import annotations

import numpy as np

from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.planner.problem import Candidate, PlanWeights
from orbitflow.policy.orbit.options import DEFAULT


def prices(
    cost: CostModel,
    limits: KvLimits,
    passes: int,
    candidates: tuple[Candidate, ...],
    token_value: float,
    least_pass: float = DEFAULT.least_pass,
) -> PlanWeights:
    """The weights of a planning problem; `token_value` is lambda, in late tokens."""
    if not candidates:
        return PlanWeights(())
    contexts = np.array([one.context_tokens for one in candidates], dtype=np.float64)
    line = cost.decode_line(len(candidates))
    middle, base_s = contexts + passes // 2, line.base_s
    compute_s = line.request_s + line.token_s * middle
    groups = (contexts + passes - 2) // limits.page_tokens
    gpu_pages = max(1, limits.gpu_pages)  # layers on their way may have taken it all: nobody fits
    pages = limits.layers * (groups + 1)
    value_s = compute_s + base_s * pages / gpu_pages
    mean_s, all_s = float(value_s.mean()), float(compute_s.sum())
    full = float(pages.sum()) / gpu_pages
    if full <= 1:
        most = (all_s + base_s * full) / (base_s + all_s)
    else:
        copied = (middle - 1) // limits.page_tokens * float(cost.page_bytes)
        speed = np.interp(copied, cost.h2d.run_bytes, cost.h2d.bytes_per_s)
        link_s = copied / speed + cost.h2d.latency_s * (copied > 0)
        page_s = float(np.where(groups > 0, link_s / np.maximum(groups, 1), np.inf).min())
        most = min(1 + base_s / (page_s * gpu_pages), full) if page_s > 0 else full
    full_s = base_s + all_s / max(1.0, full)
    values = token_value * value_s / mean_s
    return PlanWeights(
        tuple(values.tolist()),
        token_value * most / mean_s,
        least_pass * min(full_s, *(one.tbt_limit_s for one in candidates)),
        passes * float(values.sum()),
    )
