"""One decode pass of each baseline, worked out by hand from its module's equation.

The machine: 4 layers of 0.25 s, pages of 16 tokens of 16 bytes a layer. A page takes 0.2 s over the
link, 0.08 s to attend to and 0.05 s to gather; prompts take 1 s; nothing happens outside the layers
unless said otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from reference.harness import Run, serve
from strategies import Machine
from test_layers import serve_layers

from orbitflow.errors import ProfileError
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.profile import HostFit, LinkFit
from orbitflow.memory import KvLimits
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request

PAGE = 16
LINK = LinkFit(0.0, (1.0,), (PAGE / 0.2,))
FREE = LinkFit(0.0, (1.0,), (1e30,))
PREFILL = PrefillFit(1.0, 0.0, 0.0)
COST = CostModel(
    layers=4,
    page_tokens=PAGE,
    page_bytes=PAGE,
    passes=LinePasses(DecodeFit(1.0, 0.0, 0.0, 0.0), PREFILL),
    h2d=LINK,
    d2h=FREE,
    link_slowdown=0.0,
    host=HostFit(attention_bytes_per_s=PAGE / 0.08, gather_bytes_per_s=PAGE / 0.05),
)
AMPLE = 10_000


def machine(gpu_pages: int = AMPLE, **changes: object) -> Machine:
    cost = replace(COST, **changes)  # type: ignore[arg-type]
    return Machine(cost, KvLimits(4, PAGE, gpu_pages))


def passes(run: Run, request_id: int = 0) -> list[float]:
    """Times between a request's tokens, both fidelities being asked first."""
    times = run.times[request_id]
    return [b - a for a, b in pairwise(times)]


def served(policy: str, on: Machine, *requests: Request, tbt_limit_s: float = 0.1) -> Run:
    """The run, which both fidelities must agree on."""
    run = serve(policy, on, requests, tbt_limit_s=tbt_limit_s)
    layers = serve_layers(policy, on, requests, tbt_limit_s=tbt_limit_s)
    for key, times in run.times.items():
        assert layers.times[key] == pytest.approx(times, rel=1e-12)
    return run


def test_zero_inference_waits_for_the_cpu_in_every_layer() -> None:
    """Contexts 41 and 57 have 2 and 3 full pages: 5 x 0.08 s of attention in each of 4 layers.

    Q and o of 2 requests are 2 x 8 bytes each way: 0.2 s up, nothing down. 4 (0.4 + 0.2) + 1 = 3.4.
    """
    pair = [Request(0, 0.0, 40, 3), Request(1, 0.0, 56, 3)]
    run = served("zero-inference", machine(query_bytes=8), *pair)
    assert passes(run, 1) == pytest.approx([3.4, 3.4])
    plain = served("zero-inference", machine(), *pair)
    assert passes(plain, 1) == pytest.approx([2.6, 2.6])
    assert sum(outcome.h2d_bytes for _, outcome, _ in plain.steps) == 0
    assert plain.steps[-1][1].stall_s == pytest.approx(2 * 1.6)


def test_the_gpu_is_not_charged_for_what_the_cpu_attends_to() -> None:
    """0.001 s per token of context would be 0.041 s a pass."""
    decode = DecodeFit(1.0, 0.0, 0.001, 0.0)
    run = served(
        "zero-inference", machine(passes=LinePasses(decode, PREFILL)), Request(0, 0.0, 40, 3)
    )
    assert passes(run) == pytest.approx([1.64, 1.64])


def test_flexgen_fetches_one_layer_ahead() -> None:
    """Two rows of 48 + 3 tokens, A = 4, F = 3. Resident both: 4 x 8 = 32 pages; one: 16 + 4 + 6.

    With 31 pages the second row is on the host: 0.6 s a layer against 0.25 s of compute, and
    layer 0 has nothing to hide behind: 0.6 + 3 x 0.6 + 0.25. 0.4 s outside the layers (0.15 s each)
    hide most of the first: 0.6 + 3 x 0.6 + 0.15.
    """
    pair = [Request(0, 0.0, 48, 4), Request(1, 0.0, 48, 4)]
    for outside_s, pass_s in ((0.0, 2.65), (0.4, 2.55)):
        on = machine(31, passes=LinePasses(DecodeFit(1.0, 0.0, 0.0, outside_s), PREFILL))
        assert passes(served("flexgen", on, *pair), 1) == pytest.approx([pass_s] * 3)
    assert passes(served("flexgen", machine(32), *pair), 1) == pytest.approx([1.0] * 3)


def test_flexgen_hides_short_transfers() -> None:
    """The second row has 19 tokens at its end, one full page: 16 + 4 + 2 of 23 pages.

    0.2 s a layer are hidden, but for the first: 0.2 + 4 x 0.25.
    """
    on = machine(23)
    pair = [Request(0, 0.0, 48, 4), Request(1, 0.0, 16, 4)]
    assert passes(served("flexgen", on, *pair), 1)[1:] == pytest.approx([1.2, 1.2])


def test_flexgen_plus_takes_the_stride_of_its_formula() -> None:
    """A lone request of 100 tokens at its end: ceil(100 / 16) + 1 = 8 blocks a layer of 31: 3 fit.

    So one of 4 layers, distance 3: 0.4 s a pass, hidden behind the three layers before it. 72
    tokens, the context of 41 with head-room, take 3 x 5 + 1 + 2 x 4 = 24 pages. `dynamic` would
    have all 4 x 5 on the GPU.
    """
    run = served("flexgen-plus", machine(31), Request(0, 0.0, 40, 61))
    first = next(step for step, _, _ in run.steps if step.streams)
    assert first.streams[0].layers == (3,)
    assert first.context_tokens == 41
    assert passes(run)[:10] == pytest.approx([1.0] * 10)


@pytest.mark.parametrize(
    ("tbt_limit_s", "layers", "pass_s"),
    [
        (1.0, (1, 3), 1.0),  # 0.4 / 0.25 is 1.6, so N = 2: groups of 0.5 s hide 0.4 s
        (1.6, (0, 1, 2, 3), 1.6),  # 0.4 s a layer are allowed: N = 1, 4 max(0.25, 0.4)
        (0.5, (3,), 1.0),  # 0.125 s a layer: N = 3.2, so 4, one layer
    ],
)
def test_select_n_spends_the_slack_on_host_layers(
    tbt_limit_s: float, layers: tuple[int, ...], pass_s: float
) -> None:
    """Context 41: 0.4 s a layer. T = groups max(N t_c, x) once the ring is warm."""
    run = served("select-n", machine(), Request(0, 0.0, 40, 8), tbt_limit_s=tbt_limit_s)
    assert run.steps[-1][0].streams[0].layers == layers
    assert passes(run)[-1] == pytest.approx(pass_s)


def test_the_artifact_looks_at_neither_slo_nor_memory() -> None:
    """X = 4 layers x 0.2 s a page: 2 pages 1.6 s > T = 1, so every second layer, with room for all.

    1 page: off = 1, all on the GPU. Layer 3 waits for 2 x 0.4 s, hidden but for the first pass.
    """
    run = served("select-n-artifact", machine(), Request(0, 0.0, 40, 4), tbt_limit_s=100.0)
    assert run.steps[-1][0].streams[0].layers == (1, 3)
    assert passes(run)[1:] == pytest.approx([1.0, 1.0])
    short = served("select-n-artifact", machine(), Request(0, 0.0, 16, 4))
    assert not any(step.streams for step, _, _ in short.steps)


def test_infinigen_gathers_a_fifth_after_attention() -> None:
    """Context 161, 10 pages = 160 bytes a layer: 2 s whole, 32 bytes or 0.4 s a fifth, gather 0.1.

    Layer 0 waits 2 s, layer 1 2 - 0.25; layers 2 and 3 wait 0.1 + 0.4 - 0.25 each: 1 + 4.25.
    """
    run = served("infinigen", machine(), Request(0, 0.0, 160, 3))
    assert passes(run) == pytest.approx([5.25, 5.25])
    assert sum(outcome.h2d_bytes for _, outcome, _ in run.steps) == 2 * (2 * 160 + 2 * 32)


def test_infinigen_hides_nothing_behind_attention() -> None:
    """Tokens cost 0.01 s. The GPU reads 161 of them in 2 layers, 0.3 x 161 in the others: 1.0465 s.

    A layer takes 0.511625, of which 0.25 follow its attention and hide part of the next group.
    """
    on = machine(passes=LinePasses(DecodeFit(1.0, 0.0, 0.01, 0.0), PREFILL))
    run = served("infinigen", on, Request(0, 0.0, 160, 2))
    stall_s = 2.0 + (2.0 - 0.511625) + 2 * (0.1 + 0.4 - 0.25)
    assert passes(run) == pytest.approx([2.0465 + stall_s])


def test_infinigen_keeps_a_tenth_of_the_keys() -> None:
    """Context 161, a page more at the end: 4 tails, 2 groups of 10 pages, 0.1 x 4 x 10 keys."""
    policy = make_policy("infinigen")
    policy.bind(machine().limits, COST)
    assert policy.is_lossy
    assert policy.pages_alone(Request(0, 0.0, 150, 12)) == (4 + 20 + 4, 4 * 11)


def test_neo_pays_the_base_twice_and_hides_the_cpu() -> None:
    """Two rows of 3 pages in each of 4 layers, 12 pages, of which 20 exist: the second is hosted.

    G = 1 - 0.01 + 0.002 x 34 = 1.058, H = 1 - 0.01, A = 4 x 2 x 0.08 = 0.64 < G: T = 2.048.
    Two tokens in that time are more than one in G.
    """
    on = machine(20, passes=LinePasses(DecodeFit(1.0, -0.01, 0.002, 0.0), PREFILL))
    run = served("neo", on, Request(0, 0.0, 33, 9), Request(1, 0.0, 33, 9))
    assert passes(run, 1) == pytest.approx([2.048 + 0.002 * j for j in range(8)])
    assert sum(outcome.stall_s for _, outcome, _ in run.steps) == pytest.approx(0.0, abs=1e-9)


def test_neo_lets_the_host_wait_where_the_gpu_alone_is_faster() -> None:
    """Three rows of 12 pages; 95 % of 28 hold two. G = 1 + 0.002 x 70 and H = 1: three tokens in
    2.14 s are fewer per second than two in 1.14 s. The third decodes when the others are done.
    """
    on = machine(28, passes=LinePasses(DecodeFit(1.0, 0.0, 0.002, 0.0), PREFILL))
    run = served("neo", on, *(Request(i, 0.0, 33, 9) for i in range(3)))
    assert passes(run, 0)[1:] == pytest.approx([1.0 + 0.004 * (34 + j) for j in range(1, 8)])
    assert run.times[2][1] > run.times[0][-1]


def test_neo_attends_on_the_cpu_alone_for_what_no_gpu_holds() -> None:
    """3 pages a layer, 12, of which 11 exist: T = H + A = 1 + 4 x 2 x 0.08."""
    run = served("neo", machine(11), Request(0, 0.0, 40, 4))
    assert passes(run) == pytest.approx([1.64] * 3)


@pytest.mark.parametrize("policy", ["zero-inference", "infinigen", "neo"])
def test_a_profile_without_host_rates_is_refused(policy: str) -> None:
    with pytest.raises(ProfileError, match=f"{policy} works on KV with the CPU") as refusal:
        make_policy(policy).bind(machine().limits, replace(COST, host=None))
    assert "\n" not in str(refusal.value)
