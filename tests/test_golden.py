"""Small runs worked out by hand, from requests to metrics.

The machine: 4 layers, pages of 16 tokens, no time outside the layers, 1 byte of KV per token and
layer (so a page is 16 bytes).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from orbitflow.config import DeliveryPace
from orbitflow.engine.engine import ServingCore
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.profile import LinkFit
from orbitflow.memory import KvLimits
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request
from orbitflow.results.recorder import Recorder
from orbitflow.sim.server import Simulation
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.slo import Slo

LAYERS, PAGE = 4, 16


class Lines:
    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def write(self, text: str) -> None:
        self.rows.append(json.loads(text))


def cost_model(decode: DecodeFit, prefill: PrefillFit, page_s: float) -> CostModel:
    link = LinkFit(0.0, (1.0,), (PAGE / page_s,))
    return CostModel(LAYERS, PAGE, PAGE, LinePasses(decode, prefill), link, link, 0.0)


def run(
    policy_name: str, cost: CostModel, capacity_tokens: int, slo: Slo, requests: Sequence[Request]
) -> tuple[dict[str, object], list[dict[str, object]]]:
    limits = KvLimits.from_tokens(LAYERS, PAGE, capacity_tokens)
    policy = make_policy(policy_name)
    policy.bind(limits, cost)
    core = ServingCore(policy, limits, tbt_limit_s=slo.tbt_limit_s)
    lines = Lines()
    recorder = Recorder(
        core,
        cost,
        slo,
        deposit=True,
        delivery=DeliveryPace.SLO,
        requests_out=lines,
        progress=lambda done: None,
    )
    Simulation(core, SimExecutor(cost, policy.data_plane), requests, recorder).run()
    figures = recorder.report(policy, deposit=True).figures
    return figures, sorted(lines.rows, key=lambda row: int(str(row["id"])))


def test_three_requests_without_offloading() -> None:
    """Capacity 64 tokens: 16 pages. Decode 1 + 0.01 / context token, prefill 0.5 + 0.01 / token.

    Request  arrives  prompt  output  KV at its end         pages
    A        0        16      3       18 tokens, 2 a layer  8
    B        1        16      2       17 tokens, 2 a layer  8
    C        1         8      1        8 tokens, 1 a layer  4

    0.00  A admitted, its prefill takes 0.5 + 0.16            -> A1 at 0.66
    0.66  decode, context 17, takes 1.17                      -> A2 at 1.83; B and C came at 1
    1.83  B admitted (16 pages held); C must wait; prefill    -> B1 at 2.49
    2.49  decode, contexts 18 + 17, takes 1.35                -> A3 and B2 at 3.84, both done
    3.84  C admitted, its prefill takes 0.58                  -> C1 at 4.42, done

    tau = 1.5. A: gaps 1.17, 2.01; delivered 0.66, 2.16, 3.84 (due at 3.66: late); TPOT 1.59.
    B: gap 1.35; delivered 2.49, 3.99; TPOT 1.35. C: one token, no TPOT.
    Reading time 3.18 + 1.50 for 3 tokens of 1.5 each: timely share 4.5 / 4.68.
    TTFT limit 1 + prefill: A 0.66 <= 1.66, B 1.49 <= 1.66, C 3.42 > 1.58. Both limits: only B.
    """
    cost = cost_model(DecodeFit(1.0, 0.0, 0.01, 0.0), PrefillFit(0.5, 0.01, 0.0), page_s=1.0)
    slo = Slo(tbt_limit_s=1.5, ttft_s=1.0, ttft_scale=1.0, origin="by hand")
    requests = [Request(0, 0.0, 16, 3), Request(1, 1.0, 16, 2), Request(2, 1.0, 8, 1)]
    figures, rows = run("no-offload", cost, 64, slo, requests)

    assert [row["ttft_s"] for row in rows] == pytest.approx([0.66, 1.49, 3.42])
    assert [row["last_token_s"] for row in rows] == pytest.approx([3.84, 3.84, 4.42])
    assert [row["last_delivered_s"] for row in rows] == pytest.approx([3.84, 3.99, 4.42])
    assert [row["late_tokens"] for row in rows] == [1, 0, 0]
    assert rows[0]["tpot_s"] == pytest.approx(1.59)
    assert rows[2]["tpot_s"] is None
    assert figures["makespan_s"] == pytest.approx(4.42)
    assert figures["throughput_tokens_per_s"] == pytest.approx(6 / 4.42)
    assert figures["timely_share"] == pytest.approx(4.5 / 4.68)
    assert figures["tbt_attainment"] == pytest.approx(2 / 3)
    assert figures["ttft_attainment"] == pytest.approx(2 / 3)
    assert figures["tpot_attainment"] == pytest.approx(2 / 3)
    assert figures["slo_attainment"] == pytest.approx(1 / 3)
    assert figures["goodput_rps"] == pytest.approx(1 / 4.42)
    tbt = figures["tbt_s"]
    assert isinstance(tbt, dict)
    assert tbt["max"] == pytest.approx(2.01)
    assert tbt["p50"] == pytest.approx(1.35)


def test_one_request_that_streams_every_second_layer() -> None:
    """static-1 on 4 layers: layers 1 and 3 on the host. A decode pass computes 1 s, 0.25 a layer.

    Prompt 40, output 3. 40 tokens are 2 full pages a layer and 8 tokens of tail; a page takes 0.2 s
    either way, so a group takes 0.4 s.
    Prefill computes 1.0 s; 2 pages of 2 host layers are written out in 0.8 s meanwhile -> 1.00
    Pass 1, nothing prefetched: layer 1 is ready at 0.25, its group arrives at 0.40: stall 0.15.
      Layer 3 is ready at 0.90, its group arrives at 0.80. The pass takes 1.15             -> 2.15
    Pass 2: the link ran on, its first group is there at 1.20, layer 1 wants it at 1.40    -> 3.15
    Link: 2 groups a pass, 2 passes of 2 pages of 16 bytes: 128 bytes up. The prompt's full pages of
    all 4 layers go down once: 8 pages, 128 bytes; no page fills up while decoding.
    """
    cost = cost_model(DecodeFit(1.0, 0.0, 0.0, 0.0), PrefillFit(1.0, 0.0, 0.0), page_s=0.2)
    slo = Slo(tbt_limit_s=1.2, ttft_s=1.0, ttft_scale=1.0, origin="by hand")
    figures, rows = run("static-1", cost, 4096, slo, [Request(0, 0.0, 40, 3)])

    assert rows[0]["first_token_s"] == pytest.approx(1.0)
    assert rows[0]["max_tbt_s"] == pytest.approx(1.15)
    assert rows[0]["last_token_s"] == pytest.approx(3.15)
    link = figures["link"]
    assert isinstance(link, dict)
    assert link["h2d_bytes"] == 128
    assert link["d2h_bytes"] == 128
    assert link["stall_s"] == pytest.approx(0.15)
    assert link["resident_share"] == pytest.approx(0.5)
    assert figures["timely_share"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("policy_name", "a_ends_s", "b_ends_s"),
    [("preempt-recompute", 41.0, 48.0), ("preempt-swap", 42.2, 50.4)],
)
def test_the_latest_of_two_gives_way(policy_name: str, a_ends_s: float, b_ends_s: float) -> None:
    """Capacity 7 pages a layer. Prefill 1 s, a decode pass 1 s, a page takes 0.1 s either way.

    A and B: prompt 16, output 40. With two pages of head-room each holds 3 pages: both start.
    A1 at 1, B1 at 2, then 32 passes of both with contexts 17..48 (3 pages each)          -> 34
    Contexts of 49 need 4 pages each: B, which came last, is preempted with 33 tokens out.
    recompute: A's last 7 tokens -> 41. B prefills 16 + 33 tokens: B34 at 42, 6 more      -> 48
    swap: B's 48 tokens, 3 pages in 4 layers and no tail, go down in 1.2 s; A's 7 tokens  -> 42.2
      They come back in 1.2 s, then B's last 7 tokens                                     -> 50.4
    """
    cost = cost_model(DecodeFit(1.0, 0.0, 0.0, 0.0), PrefillFit(1.0, 0.0, 0.0), page_s=0.1)
    slo = Slo(tbt_limit_s=1.2, ttft_s=1.0, ttft_scale=1.0, origin="by hand")
    requests = [Request(0, 0.0, 16, 40), Request(1, 0.0, 16, 40)]
    figures, rows = run(policy_name, cost, 7 * PAGE, slo, requests)

    assert [row["first_token_s"] for row in rows] == pytest.approx([1.0, 2.0])
    assert [row["last_token_s"] for row in rows] == pytest.approx([a_ends_s, b_ends_s])
    assert figures["paused_s"] == pytest.approx(a_ends_s - 34.0)
    link = figures["link"]
    assert isinstance(link, dict)
    swapped = 0 if policy_name == "preempt-recompute" else 12 * PAGE
    assert (link["d2h_bytes"], link["h2d_bytes"]) == (swapped, swapped)
