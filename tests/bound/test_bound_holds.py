"""No built-in policy that keeps its KV does better than the bound, on random workloads."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from reference.harness import Run, serve
from strategies import STREAMING, Machine, chunk_sizes, machines, workloads

from orbitflow.bound.bound import Bound, upper_bound
from orbitflow.machine.cost import CostModel
from orbitflow.request import Request
from orbitflow.results.metrics import meets, pace, tpot_s, ttft_s
from orbitflow.slo import Slo


@settings(derandomize=True, max_examples=60)  # of a quarter of a second each
@given(
    machine=machines(),
    requests=workloads(10),
    chunk=chunk_sizes,
    max_batch=st.sampled_from((None, 1, 3)),
    tbt_limit_s=st.sampled_from((0.02, 0.04, 0.08, 0.3)),
    ttft=st.sampled_from(((0.05, 1.0), (0.5, 2.0), (5.0, 5.0))),
)
def test_no_policy_beats_the_bound(
    machine: Machine,
    requests: tuple[Request, ...],
    chunk: int,
    max_batch: int | None,
    tbt_limit_s: float,
    ttft: tuple[float, float],
) -> None:
    slo = Slo(tbt_limit_s, *ttft, "test")
    cost, limits = machine
    bound = upper_bound(requests, cost, limits, max_batch, slo)
    for policy in ("no-offload", *STREAMING):
        run = serve(
            policy,
            machine,
            requests,
            max_batch=max_batch,
            prefill_chunk=chunk,
            tbt_limit_s=tbt_limit_s,
        )
        holds(bound, run, policy, requests, cost, slo)


def holds(
    bound: Bound, run: Run, policy: str, requests: tuple[Request, ...], cost: CostModel, slo: Slo
) -> None:
    """Assert that a run is within the bound in every figure."""
    due_s = reading_s = 0.0
    first = paced = both = 0
    last_s = 0.0
    for finished in run.finished.values():
        request, times = finished.request, finished.token_times_s
        paced_delivery = pace(times, slo.tbt_limit_of(request), deposit=True)
        due_s += paced_delivery.due_s
        reading_s += paced_delivery.reading_s
        start, end = float(times[0]), float(times[-1])
        last_s = max(last_s, end)
        in_ttft = meets(ttft_s(start, request.arrival_s), slo.ttft_of(request, cost))
        in_tpot = meets(tpot_s(start, end, len(times)), slo.tbt_limit_of(request))
        first, paced, both = first + in_ttft, paced + in_tpot, both + (in_ttft and in_tpot)
    total, more = len(requests), 1 + 1e-9
    assert first / total <= bound.ttft_attainment * more, policy
    assert paced / total <= bound.tpot_attainment * more, policy
    assert both / total <= bound.slo_attainment * more, policy
    if reading_s:
        assert due_s / reading_s <= bound.timely_share * more, policy
    if last_s:
        span_s = last_s - min(r.arrival_s for r in requests)
        assert both / span_s <= bound.goodput_rps * more, policy
