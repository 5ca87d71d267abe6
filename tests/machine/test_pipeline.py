"""The three pipeline forms against a discrete-event simulation and against their own formulas."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.pipeline import Group, Pass, simulate

from orbitflow.arrays import FloatArray
from orbitflow.errors import PolicyError
from orbitflow.machine.pipeline import (
    ATTEND,
    STREAM,
    HostRead,
    RingPipeline,
    TransferDemand,
    paper_stalls,
    serial_stalls,
)
from orbitflow.policy.stride import SELECT

EXAMPLES = settings(max_examples=60, derandomize=True)


class Call(NamedTuple):
    """What one call of `RingPipeline.stalls` gets."""

    demand: TransferDemand
    layer_s: FloatArray
    pass_s: FloatArray
    ring_bytes: float
    delay_s: float  # between the end of the pass before and this call


class Case(NamedTuple):
    layers: int
    start_s: float
    calls: tuple[Call, ...]


seconds = st.floats(0.001, 2.0, allow_subnormal=False)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Random layer sets, groups that vary by layer and pass, a ring that holds the largest."""
    layers = draw(st.integers(1, 8))
    calls = []
    for _ in range(draw(st.integers(1, 3))):
        host = tuple(sorted(draw(st.sets(st.integers(0, layers - 1), min_size=1))))
        passes = draw(st.integers(1, 4))
        shape = (passes, len(host))

        def matrix(values: st.SearchStrategy[float], shape: tuple[int, int] = shape) -> FloatArray:
            size = shape[0] * shape[1]
            return np.array(draw(st.lists(values, min_size=size, max_size=size))).reshape(shape)

        link_s = matrix(st.just(0.0) | seconds)
        ring = matrix(st.integers(0, 8).map(float))
        layer_s = np.array(draw(st.lists(seconds, min_size=passes, max_size=passes)))
        outside = np.array(draw(st.lists(st.just(0.0) | seconds, min_size=passes, max_size=passes)))
        spare = draw(st.sampled_from((0.0, 1.0, 3.0, 8.0, 100.0)))
        calls.append(
            Call(
                TransferDemand(host, link_s, ring),
                layer_s,
                layers * layer_s + outside,
                float(ring.max()) + spare,
                draw(st.just(0.0) | seconds),
            )
        )
    ring_bytes = max(call.ring_bytes for call in calls)
    same = tuple(call._replace(ring_bytes=ring_bytes) for call in calls)
    return Case(layers, draw(st.floats(0, 100)), same)


def groups(demand: TransferDemand, index: int) -> tuple[Group, ...]:
    """The groups of one pass."""
    rows = zip(demand.layers, demand.link_s[index], demand.ring_bytes[index], strict=True)
    return tuple(Group(layer, float(x), float(size)) for layer, x, size in rows)


def run_ring(case: Case) -> tuple[list[float], list[tuple[float, float]]]:
    """Stalls by the pipeline under test, and (start, end) of every pass that they imply."""
    ring = RingPipeline()
    ring.restart(case.start_s, case.calls[0].ring_bytes)
    now, stalls, times = case.start_s, [], []
    for call in case.calls:
        now += call.delay_s
        for stall, compute in zip(
            ring.stalls(call.demand, call.layer_s, call.pass_s, now), call.pass_s, strict=True
        ):
            stalls.append(float(stall))
            times.append((now, now + float(compute) + float(stall)))
            now = times[-1][1]
    return stalls, times


def run_reference(case: Case, starts: list[float]) -> list[float]:
    """Stalls by the event simulation."""
    passes: list[Pass] = []
    for call in case.calls:
        for index in range(len(call.pass_s)):
            passes.append(
                Pass(
                    groups(call.demand, index),
                    float(call.layer_s[index]),
                    float(call.pass_s[index]),
                    call.ring_bytes,
                    starts[len(passes)] if index == 0 else 0.0,
                )
            )
    timed = simulate(passes, case.layers, case.start_s)
    return [t.end_s - t.start_s - p.compute_s for t, p in zip(timed, passes, strict=True)]


@EXAMPLES
@given(cases())
def test_ring_agrees_with_the_event_simulation(case: Case) -> None:
    stalls, times = run_ring(case)
    scale = times[-1][1]
    assert stalls == pytest.approx(
        run_reference(case, [start for start, _ in times]), rel=1e-9, abs=1e-9 * scale
    )


@EXAMPLES
@given(cases())
def test_a_cold_ring_pass_is_bounded_below_by_compute_and_by_the_link(case: Case) -> None:
    call = case.calls[0]
    stall = run_ring(Case(case.layers, 0.0, (call._replace(delay_s=0.0),)))[0][0]
    compute, link = float(call.pass_s[0]), float(call.demand.link_s[0].sum())
    assert stall >= 0
    assert compute + stall >= max(compute, link) - 1e-12


@EXAMPLES
@given(cases())
def test_no_number_of_ring_passes_beats_compute_or_the_link(case: Case) -> None:
    stalls, times = run_ring(case)
    link = sum(float(call.demand.link_s.sum()) for call in case.calls)
    assert min(stalls) >= 0
    assert times[-1][1] - case.start_s >= link * (1 - 1e-12) - 1e-9


@EXAMPLES
@given(cases())
def test_paper_form_is_its_formula(case: Case) -> None:
    for call in case.calls:
        got = paper_stalls(call.demand, call.layer_s)
        for index, t_c in enumerate(call.layer_s.tolist()):
            row = groups(call.demand, index)
            worst = 0.0
            for j in range(1, case.layers + 1):  # the paper counts layers from 1
                x_j = sum(g.link_s for g in row if g.layer + 1 <= j)
                # A layer that streams nothing waits for nobody: its X_j is an earlier layer's.
                worst = max(worst, x_j - (j - 1) * t_c)
            assert got[index] == pytest.approx(worst, rel=1e-9, abs=1e-12)


@EXAMPLES
@given(cases())
def test_paper_form_is_the_schedule_of_layers_that_wait(case: Case) -> None:
    for call in case.calls:
        got = paper_stalls(call.demand, call.layer_s)
        for index, t_c in enumerate(call.layer_s.tolist()):
            row = groups(call.demand, index)
            arrival = dict(
                zip((g.layer for g in row), accumulate(g.link_s for g in row), strict=True)
            )
            now = 0.0
            for layer in range(case.layers):
                now = max(now, arrival.get(layer, 0.0)) + t_c
            assert got[index] == pytest.approx(now - case.layers * t_c, rel=1e-9, abs=1e-12)


@EXAMPLES
@given(cases())
def test_a_cold_pass_in_a_huge_ring_is_the_paper_form(case: Case) -> None:
    call = case.calls[0]
    huge = RingPipeline()
    huge.restart(case.start_s, 1e18)
    one = TransferDemand(call.demand.layers, call.demand.link_s[:1], call.demand.ring_bytes[:1])
    stall = huge.stalls(one, call.layer_s[:1], call.pass_s[:1], case.start_s)
    assert stall == pytest.approx(paper_stalls(one, call.layer_s[:1]), rel=1e-9, abs=1e-9)


@EXAMPLES
@given(cases())
def test_serial_form_pays_for_every_group(case: Case) -> None:
    for call in case.calls:
        for index, stall in enumerate(serial_stalls(call.demand).tolist()):
            assert stall == pytest.approx(sum(g.link_s for g in groups(call.demand, index)))


@EXAMPLES
@given(cases(), st.floats(1.0, 16.0))
def test_a_faster_link_never_ends_a_pass_later(case: Case, factor: float) -> None:
    def sped(call: Call) -> Call:
        demand = call.demand._replace(link_s=call.demand.link_s / factor)
        return call._replace(demand=demand, delay_s=0.0)

    slow = run_ring(case._replace(calls=tuple(c._replace(delay_s=0.0) for c in case.calls)))[1]
    fast = run_ring(case._replace(calls=tuple(map(sped, case.calls))))[1]
    assert all(f[1] <= s[1] * (1 + 1e-12) for f, s in zip(fast, slow, strict=True))


@EXAMPLES
@given(cases(), st.floats(0.0, 20.0))
def test_a_larger_ring_never_ends_a_pass_later(case: Case, more: float) -> None:
    calls = tuple(c._replace(delay_s=0.0) for c in case.calls)
    small = run_ring(case._replace(calls=calls))[1]
    grown = tuple(c._replace(ring_bytes=c.ring_bytes + more) for c in calls)
    large = run_ring(case._replace(calls=grown))[1]
    assert all(b[1] <= a[1] * (1 + 1e-12) for a, b in zip(small, large, strict=True))


@EXAMPLES
@given(cases())
def test_one_call_or_one_call_per_pass_is_the_same(case: Case) -> None:
    def pieces(call: Call) -> list[Call]:
        demand = call.demand
        return [
            Call(
                TransferDemand(
                    demand.layers, demand.link_s[i : i + 1], demand.ring_bytes[i : i + 1]
                ),
                call.layer_s[i : i + 1],
                call.pass_s[i : i + 1],
                call.ring_bytes,
                call.delay_s if i == 0 else 0.0,
            )
            for i in range(len(call.pass_s))
        ]

    split = case._replace(calls=tuple(piece for call in case.calls for piece in pieces(call)))
    assert run_ring(split)[0] == pytest.approx(run_ring(case)[0], rel=1e-9, abs=1e-9)


def test_a_group_larger_than_the_ring_is_refused() -> None:
    ring = RingPipeline()
    ring.restart(0.0, 3.0)
    demand = TransferDemand((0,), np.array([[1.0]]), np.array([[4.0]]))
    with pytest.raises(PolicyError, match="exceeds the ring"):
        ring.stalls(demand, np.ones(1), np.ones(1), 0.0)


def test_restart_forgets_what_was_prefetched() -> None:
    demand = TransferDemand((1,), np.array([[0.5]]), np.array([[1.0]]))
    layer_s, pass_s = np.full(1, 1.0), np.full(1, 2.0)
    ring = RingPipeline()
    ring.restart(0.0, 2.0)
    cold = ring.stalls(demand._replace(layers=(0,)), layer_s, pass_s, 0.0)
    warm = ring.stalls(demand._replace(layers=(0,)), layer_s, pass_s, 2.5)
    ring.restart(4.5, 2.0)
    again = ring.stalls(demand._replace(layers=(0,)), layer_s, pass_s, 4.5)
    assert (cold.tolist(), warm.tolist(), again.tolist()) == ([0.5], [0.0], [0.5])


HOST = (0, 1, 2, 5)


@pytest.mark.parametrize(
    ("read", "layers", "spared"), [(STREAM, (), 0.0), (ATTEND, HOST, 1.0), (SELECT, (2, 5), 0.7)]
)
def test_what_the_cpu_works_on(read: HostRead, layers: tuple[int, ...], spared: float) -> None:
    assert read.worked_on(HOST) == layers
    assert read.spared_share == pytest.approx(spared)
    assert read.needs_host == bool(layers)


def test_only_a_share_is_a_selection() -> None:
    assert SELECT.selects
    assert not ATTEND.selects
    assert not STREAM.selects
    assert not HostRead(fetched_share=0.9, kept_share=0.5).spared_share
