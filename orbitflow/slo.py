"""What counts as fast enough.

tau, the limit on the time between tokens, is `scale` times a decode pass with the KV capacity full
and nothing offloaded: n requests of the trace's mean final context m, n = min(max batch, capacity /
m), so n m context tokens (after arXiv 2601.10729, which fills the GPU). A request's TTFT limit is a
constant plus a multiple of its own isolated prefill. A trace's own limits win over both. Design
section 9.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitflow.arrays import IntArray
from orbitflow.machine.cost import CostModel
from orbitflow.request import Request

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

    tau_s: float
    ttft_s: float
    ttft_scale: float
    origin: str
    cost: CostModel | None = None

    def tau_of(self, request: Request) -> float:
        """Limit on the time between two tokens of this request, in seconds."""
        return self.tau_s if request.slo_tbt_s is None else request.slo_tbt_s

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
