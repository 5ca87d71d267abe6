"""What counts as fast enough, and when each token is delivered.

tau, the limit on the time between tokens, is `scale` times a decode pass with the KV capacity full
and nothing offloaded: n requests of the trace's mean final context m, n = min(max batch, capacity /
m), so n m context tokens (after arXiv 2601.10729, which fills the GPU). A request's TTFT limit is a
constant plus a multiple of its own isolated prefill. A trace's own limits win over both. Design
section 9.

Token deposit (arXiv 2601.10729, design section 4.3): tokens generated early are kept back and
delivered at the SLO's pace,

    delivered_k = max(generated_k, delivered_{k-1} + tau),   delivered_0 = generated_0

which is ``k tau + running_max(generated_k - k tau)``. A token is late iff it was not there when it
was due: generated_k > delivered_{k-1} + tau. The deposit at time t is what is
generated but not yet delivered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.request import Request

if TYPE_CHECKING:
    from orbitflow.machine.cost import CostModel

MEAN_OVER_REQUESTS = 100_000


def full_pass_s(
    cost: CostModel, capacity_tokens: int, max_batch: int | None, mean_final_context: float
) -> float:
    """Time of a decode pass with the KV capacity full, nothing offloaded, in seconds."""
    requests = capacity_tokens / mean_final_context
    if max_batch is not None:
        requests = min(requests, max_batch)
    return cost.decode_pass_s(requests, requests * mean_final_context)


@dataclass(frozen=True, slots=True)
class Slo:
    """The run's limits. `origin` says in words where tau comes from; `cost`, where it is given, is
    the machine that isolated prefills are taken from, whichever machine serves.
    """

    tbt_limit_s: float
    ttft_s: float
    ttft_scale: float
    origin: str
    cost: CostModel | None = None

    def tbt_limit_of(self, request: Request) -> float:
        """Limit on the time between two tokens of this request, in seconds."""
        return self.tbt_limit_s if request.slo_tbt_s is None else request.slo_tbt_s

    def ttft_of(self, request: Request, cost: CostModel) -> float:
        """Limit on the time to the first token of this request, in seconds."""
        if request.slo_ttft_s is not None:
            return request.slo_ttft_s
        prefill_s = (self.cost or cost).prefill_s(request.prompt_tokens)
        return self.ttft_s + self.ttft_scale * prefill_s


def mean_final_context(prompt_tokens: IntArray, output_tokens: IntArray) -> float:
    """Mean prompt + output over the first 100,000 requests, in tokens."""
    prompts = prompt_tokens[:MEAN_OVER_REQUESTS]
    outputs = output_tokens[:MEAN_OVER_REQUESTS]
    return float(prompts.sum() + outputs.sum()) / len(prompts)


LATE_TOLERANCE_S = 1e-9


def deliver(generated_s: FloatArray, tbt_limit_s: float) -> FloatArray:
    """Delivery times of tokens generated at `generated_s`, at one token per `tbt_limit_s` at most.

    >>> deliver(np.array([0.0, 0.1, 0.2, 5.0]), 1.0).tolist()
    [0.0, 1.0, 2.0, 5.0]
    """
    pace = tbt_limit_s * np.arange(len(generated_s))
    delivered: FloatArray = np.maximum.accumulate(generated_s - pace) + pace
    return delivered


def late(
    generated_s: FloatArray, delivered_s: FloatArray, tbt_limit_s: float
) -> npt.NDArray[np.bool_]:
    """Which tokens after the first were not there in time, shape (tokens - 1,)."""
    due = delivered_s[:-1] + tbt_limit_s
    result: npt.NDArray[np.bool_] = generated_s[1:] > due + LATE_TOLERANCE_S
    return result


def next_due_s(generated_s: FloatArray, tbt_limit_s: float) -> float:
    """When the token after these is due, in seconds."""
    steps = tbt_limit_s * np.arange(len(generated_s))
    return float((generated_s - steps).max()) + tbt_limit_s * len(generated_s)


def deposit_tokens(generated_s: FloatArray, tbt_limit_s: float, now_s: float) -> int:
    """Tokens generated but not yet delivered at `now_s`: for so many tau the request can pause."""
    return int((deliver(generated_s, tbt_limit_s) > now_s).sum())
