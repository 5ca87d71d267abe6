"""What must not change when something else does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.harness import bursts, same_times, serve
from reference.lines import lines
from strategies import (
    LAYERS,
    POLICIES,
    Machine,
    batch_limits,
    chunk_sizes,
    machines,
    small_machine,
    workloads,
)

from orbitflow.arrays import FloatArray
from orbitflow.cli.sim import run_simulation
from orbitflow.config import RunConfig
from orbitflow.engine.engine import ServingCore
from orbitflow.engine.policy import DataPlane
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.pipeline import Overlap
from orbitflow.machine.profile import HostFit, LinkFit
from orbitflow.placement import HostLayers, stride
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Step, Stream

EXAMPLES = settings(max_examples=25, derandomize=True)
PASSES = 40

contexts_st = st.lists(st.integers(1, 300), min_size=1, max_size=8)
placements = st.sampled_from([*(stride(LAYERS, d) for d in (0, 1, 2, 3)), (0, 4), (1, 2, 5)])


def fixed_batch(contexts: list[int], layers: HostLayers, number: int = 1) -> Step:
    """A step of a batch that streams `layers` of everybody."""
    at = np.array(contexts)
    full = int(((at + PASSES) // 4).sum())
    streams = (Stream(layers, layers, at),) if layers else ()
    ids = tuple(range(len(contexts)))
    total = int(at.sum())
    return Step(number, (), ids, total, at, streams, 2 * full, (), PASSES, 1, True)


def pass_ends(cost: CostModel, overlap: Overlap, step: Step) -> FloatArray:
    """When the passes of a fixed batch end."""
    plane = DataPlane(overlap, write_through=bool(step.streams), ring_groups=2)
    return SimExecutor(cost, plane).execute(step, 0.0, float("inf")).pass_end_s


def with_link(cost: CostModel, bytes_per_s: float) -> CostModel:
    link = LinkFit(cost.h2d.latency_s, (1.0,), (bytes_per_s,))
    return replace(cost, h2d=link, d2h=link)


@pytest.mark.parametrize("overlap", list(Overlap))
@EXAMPLES
@given(contexts_st, placements)
def test_an_infinitely_fast_link_gives_the_pass_times_of_no_offload(
    overlap: Overlap, contexts: list[int], layers: HostLayers
) -> None:
    cost = with_link(small_machine(link_slowdown=0.2).cost, 1e30)
    streaming = pass_ends(cost, overlap, fixed_batch(contexts, layers))
    assert streaming == pytest.approx(pass_ends(cost, overlap, fixed_batch(contexts, ())))


@pytest.mark.parametrize("overlap", list(Overlap))
@EXAMPLES
@given(contexts_st, placements, st.sampled_from((1e4, 1e5, 1e6, 1e7)), st.sampled_from((0.0, 0.2)))
def test_twice_the_link_speed_never_makes_a_pass_slower(
    overlap: Overlap, contexts: list[int], layers: HostLayers, speed: float, slowdown: float
) -> None:
    cost = small_machine(link_slowdown=slowdown, latency_s=1e-5).cost
    step = fixed_batch(contexts, layers)
    ends = [pass_ends(with_link(cost, factor * speed), overlap, step) for factor in (1.0, 2.0, 1e6)]
    for slow, fast in pairwise(ends):
        assert (fast <= slow * (1 + 1e-12)).all()
    first = [end[0] for end in ends]
    assert first == sorted(first, reverse=True)
    if overlap is not Overlap.RING:  # nothing is carried over, so every single pass counts
        spans = [np.diff(end, prepend=0.0) for end in ends]
        assert (spans[1] <= spans[0] * (1 + 1e-9)).all()


@EXAMPLES
@given(contexts_st, placements)
def test_the_forms_are_ordered(contexts: list[int], layers: HostLayers) -> None:
    """Serial hides nothing, a barrier something, the paper's form hides within a pass; compute
    alone is the least. Where the CPU has nothing to do, two batches are as slow as serial.
    """
    cost = small_machine(link_bytes_per_s=2e6).cost
    step = fixed_batch(contexts, layers)
    serial, paper = (pass_ends(cost, form, step) for form in (Overlap.SERIAL, Overlap.PAPER))
    resident = pass_ends(cost, Overlap.RING, fixed_batch(contexts, ()))
    ring = pass_ends(cost, Overlap.RING, step)
    barrier = pass_ends(cost, Overlap.BARRIER, step)
    pairs = [(paper, serial), (resident, paper), (resident, ring), (ring, serial)]
    for better, worse in (*pairs, (resident, barrier), (barrier, serial)):
        assert (better <= worse * (1 + 1e-9)).all()
    assert pass_ends(cost, Overlap.BATCHES, step) == pytest.approx(serial)


@pytest.mark.parametrize("chunk", [0, 8])
@pytest.mark.parametrize("policy", POLICIES)
def test_permuting_equal_requests_changes_nothing(policy: str, chunk: int) -> None:
    """Six equal requests at once, twice; dealing their numbers anew moves times between them."""
    machine = small_machine(160)
    shapes = [(at, number) for at in (0.0, 1.0) for number in range(6)]
    order = [3, 0, 5, 1, 4, 2, 9, 6, 11, 7, 10, 8]
    equal = [Request(i, at, 17, 60) for i, (at, _) in enumerate(shapes)]
    dealt = [equal[i] for i in order]
    first, second = (serve(policy, machine, r, prefill_chunk=chunk) for r in (equal, dealt))
    for burst in bursts(equal):
        ids = [request.id for request in burst]
        assert sorted(first.times[i] for i in ids) == sorted(second.times[i] for i in ids)


def stretched(machine: Machine, by: float) -> Machine:
    """The machine with every time constant `by` times as long."""
    cost = machine.cost
    d, p, host = lines(cost).decode, lines(cost).prefill, cost.host
    assert host is not None

    def link(fit: LinkFit) -> LinkFit:
        return LinkFit(fit.latency_s * by, fit.run_bytes, tuple(b / by for b in fit.bytes_per_s))

    slower = replace(
        cost,
        passes=LinePasses(
            DecodeFit(d.base_s * by, d.request_s * by, d.token_s * by, d.outside_s * by),
            PrefillFit(p.base_s * by, p.token_s * by, p.pair_s * by),
        ),
        h2d=link(cost.h2d),
        d2h=link(cost.d2h),
        host=HostFit(host.attention_bytes_per_s / by, host.gather_bytes_per_s / by),
    )
    return machine._replace(cost=slower)


@pytest.mark.parametrize("policy", POLICIES)
@EXAMPLES
@given(machines(), workloads(), batch_limits, chunk_sizes, st.sampled_from((0.25, 4.0, 3.0, 0.7)))
def test_other_numbers_change_no_time_and_scaling_every_time_constant_scales_every_time(
    policy: str,
    machine: Machine,
    requests: tuple[Request, ...],
    max_batch: int | None,
    chunk: int,
    by: float,
) -> None:
    """The numbers of requests are only names; a machine and a trace k times as slow take k times
    as long.
    """
    renamed = [r._replace(id=1000 + 7 * r.id) for r in requests]
    plain, other = (
        serve(policy, machine, those, max_batch=max_batch, prefill_chunk=chunk)
        for those in (requests, renamed)
    )
    assert other.times == {1000 + 7 * key: times for key, times in plain.times.items()}
    later = [r._replace(arrival_s=r.arrival_s * by) for r in requests]
    scaled = serve(
        policy,
        stretched(machine, by),
        later,
        max_batch=max_batch,
        prefill_chunk=chunk,
        tbt_limit_s=0.1 * by,
        planner_latency_s=0.005 * by,
    )
    same_times(scaled, {key: [t * by for t in times] for key, times in plain.times.items()})
    assert scaled.parks == plain.parks
    for ours, theirs in zip(scaled.finished.values(), plain.finished.values(), strict=True):
        assert ours.paused_s == pytest.approx(by * theirs.paused_s, rel=1e-6, abs=1e-9)


def refused_on_arrival(policy: str, machine: Machine, requests: Iterable[Request]) -> set[int]:
    """Who is refused, without serving the others."""
    chosen = make_policy(policy)
    chosen.bind(machine.limits, machine.cost)
    core = ServingCore(chosen, machine.limits, tbt_limit_s=0.1)
    return {r.id for r in requests if core.submit(r, r.arrival_s) is not None}


@pytest.mark.parametrize("policy", POLICIES)
@EXAMPLES
@given(machines(), workloads(), st.integers(1, 100))
def test_more_host_memory_never_refuses_more(
    policy: str, machine: Machine, requests: tuple[Request, ...], more: int
) -> None:
    few = machine.limits.host_pages or 30 * LAYERS
    machines = [
        machine._replace(limits=replace(machine.limits, host_pages=pages))
        for pages in (few, few + more, None)
    ]
    refused = [refused_on_arrival(policy, one, requests) for one in machines]
    assert refused[0] >= refused[1] >= refused[2]
    assert serve(policy, machines[0], requests).refusals.keys() == refused[0], "or later"


# -- the command line's own path, with files -------------------------------------------------------


def write_trace(path: Path, by: float = 1.0) -> Path:
    """A little trace with bursts, and limits of their own for some; times `by` as long."""
    lines = []
    for i in range(24):
        row = {
            "timestamp": (1500 * (i // 4) + 250 * (i % 3 // 2)) * by,
            "input_length": 300 + 370 * i % 4000,
            "output_length": 1 + 37 * i % 220,
        }
        if i % 5 == 0:
            row |= {"slo_tbt_ms": 125.0 * by, "slo_ttft_ms": 4000.0 * by}
        lines.append((row["timestamp"], json.dumps(row)))
    path.write_text("\n".join(text for _, text in sorted(lines, key=lambda x: x[0])) + "\n")
    return path


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "small.jsonl")
    config = RunConfig(
        str(trace), policies=("all",), kv_capacity_tokens=9000, arrival_jitter=0.3, seed=5
    )
    for name in ("a", "b"):
        run_simulation(config, tmp_path / name, as_json=False, quiet=True)
    ours = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*"))
    assert ours == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*"))
    files = [p for p in ours if (tmp_path / "a" / p).is_file() and p.name != "env.json"]
    assert len(files) >= 2 + 3 * 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_another_seed_jitters_differently(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "small.jsonl")
    texts = []
    for seed in (1, 2):
        config = RunConfig(str(trace), policies=("no-offload",), arrival_jitter=0.3, seed=seed)
        run_simulation(config, tmp_path / str(seed), as_json=False, quiet=True)
        texts.append((tmp_path / str(seed) / "no-offload" / "requests.jsonl").read_text())
    assert texts[0] != texts[1]


def test_the_scales_of_the_command_line_scale_a_whole_summary(tmp_path: Path) -> None:
    """Half as fast a machine and link, half the rate, twice the limits: all times are doubled."""
    results = []
    for by in (1.0, 2.0):
        trace = write_trace(tmp_path / f"{by:g}.jsonl", by)
        out = tmp_path / f"out-{by:g}"
        config = RunConfig(
            str(trace),
            policies=("all",),
            kv_capacity_tokens=9000,
            link_scale=1 / by,
            compute_scale=1 / by,
            slo_ttft_s=2.0 * by,
        )
        run_simulation(config, out, as_json=False, quiet=True)
        results.append(json.loads((out / "summary.json").read_text())["policies"])
    for name, plain in results[0].items():
        scaled = results[1][name]
        if plain["planner"]["calls"]:
            continue  # the planner's latency is the profile's, whatever the machine's scale
        for key in ("makespan_s", "paused_s"):
            assert scaled[key] == pytest.approx(2 * plain[key], rel=1e-9), (name, key)
        for key in ("ttft_s", "tpot_s", "tbt_s", "e2el_s"):
            for quantile, value in plain[key].items():
                # Large runs take percentiles from a histogram, to 0.1 %.
                assert scaled[key][quantile] == pytest.approx(2 * value, rel=2e-3), (name, key)
        for key in (
            "completed",
            "failed",
            "output_tokens",
            "timely_share",
            "tbt_attainment",
            "tpot_attainment",
            "ttft_attainment",
            "slo_attainment",
        ):
            assert scaled[key] == pytest.approx(plain[key], rel=1e-9), (name, key)
        for key in ("h2d_bytes", "d2h_bytes"):
            assert scaled["link"][key] == plain["link"][key], (name, key)
