"""Small machines and random workloads for property tests.

The constants are awkward on purpose, so that pass boundaries meet arrivals only where a test wants
them to.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.profile import HostFit, LinkFit
from orbitflow.memory import KvLimits
from orbitflow.request import Request

LAYERS, PAGE = 6, 4
STREAMING = (
    *("deepspeed", "flexgen", "static-1", "static-3"),
    *("flexgen-plus", "dynamic", "select-n", "select-n-artifact", "uniform-ilp", "orbitflow"),
    "orbit",
)  # all KV of host layers crosses the link
HOST_WORKING = ("zero-inference", "infinigen", "neo")  # the CPU attends to it, or gathers from it
OFFLOADING = (*STREAMING, *HOST_WORKING)
PREEMPTING = ("preempt-recompute", "preempt-swap")
POLICIES = ("no-offload", *PREEMPTING, *OFFLOADING)
_SHAPES = ((1, 1), (3, 2), (9, 5), (30, 12), (61, 40), (17, 75))


class Machine(NamedTuple):
    cost: CostModel
    limits: KvLimits


def small_machine(
    gpu_tokens: int = 240,
    host_tokens: int | None = None,
    *,
    link_bytes_per_s: float = 3.1e6,
    link_slowdown: float = 0.0,
    latency_s: float = 0.0,
) -> Machine:
    """Six layers, pages of four tokens of 1000 bytes per layer; a full KV streams in 0.46 s."""
    link = LinkFit(latency_s, (1.0,), (link_bytes_per_s,))
    cost = CostModel(
        layers=LAYERS,
        page_tokens=PAGE,
        page_bytes=4000,
        passes=LinePasses(
            DecodeFit(0.0317211, 0.0010337, 0.00011713, 0.0040903),
            PrefillFit(0.0052317, 0.00071931, 0.0000017093),
        ),
        h2d=link,
        d2h=link,
        link_slowdown=link_slowdown,
        host=HostFit(attention_bytes_per_s=1.9e7, gather_bytes_per_s=4.3e6),
        query_bytes=700,
    )
    host = None if host_tokens is None else host_tokens // PAGE * LAYERS
    return Machine(cost, KvLimits(LAYERS, PAGE, gpu_tokens // PAGE * LAYERS, host))


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """From ample to so small that most requests are refused; hosts with and without a limit."""
    return small_machine(
        draw(st.sampled_from((60, 100, 160, 240, 2000))),
        draw(st.sampled_from((None, None, 150, 400))),
        link_bytes_per_s=draw(st.sampled_from((3.1e5, 3.1e6, 3.1e7))),
        link_slowdown=draw(st.sampled_from((0.0, 0.0, 0.13))),
        latency_s=draw(st.sampled_from((0.0, 1.7e-5))),
    )


@st.composite
def workloads(draw: st.DrawFn, max_size: int = 12) -> tuple[Request, ...]:
    """Up to twelve requests: bursts, ties, lulls, single tokens, long and short ones."""
    gap = st.sampled_from((0.0, 0.0, 0.0171, 0.233, 1.907, 17.3))
    shape = st.sampled_from(_SHAPES) | st.tuples(st.integers(1, 70), st.integers(1, 60))
    now, requests = 0.0, []
    for index, (after, (prompt, output)) in enumerate(
        draw(st.lists(st.tuples(gap, shape), min_size=1, max_size=max_size))
    ):
        now += after
        requests.append(Request(index, now, prompt, output))
    return tuple(requests)


batch_limits = st.sampled_from((None, None, 1, 2, 5))
chunk_sizes = st.sampled_from((0, 0, 1, 5, 8, 32))
