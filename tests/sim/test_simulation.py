"""The simulator against slow, obvious twins: token by token, pass by pass."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.executor import slow
from reference.harness import one_pass_at_a_time, same_times, serve, simulated
from reference.lines import lines
from reference.server import serve_no_offload
from strategies import (
    OFFLOADING,
    Machine,
    batch_limits,
    chunk_sizes,
    machines,
    small_machine,
    workloads,
)

from orbitflow.engine.policy import DataPlane
from orbitflow.machine.line_passes import LinePasses, PrefillFit
from orbitflow.machine.pipeline import Overlap
from orbitflow.machine.profile import LinkFit
from orbitflow.request import Request
from orbitflow.step import Move, MoveKind, Step, Stream

EXAMPLES = settings(max_examples=20, derandomize=True)
FORMS = (Overlap.RING, Overlap.PAPER)


@settings(max_examples=80, derandomize=True)
@given(machines(), workloads(), batch_limits, chunk_sizes)
def test_no_offload_gives_every_token_when_the_reference_server_does(
    machine: Machine, requests: tuple[Request, ...], max_batch: int | None, chunk: int
) -> None:
    run = serve("no-offload", machine, requests, max_batch=max_batch, prefill_chunk=chunk)
    want, refused = serve_no_offload(machine, requests, max_batch, chunk)
    assert run.refusals.keys() == refused
    same_times(run, want)


def with_free_stores(machine: Machine) -> Machine:
    """The same machine, on which nothing has to wait for what is written to the host."""
    return machine._replace(
        cost=replace(machine.cost, d2h=LinkFit(0.0, (1.0,), (1e18,))), limits=machine.limits
    )


@pytest.mark.parametrize("stores", ["free stores", "stores"])
@pytest.mark.parametrize("policy", OFFLOADING)
@EXAMPLES
@given(machines(), workloads(), batch_limits, chunk_sizes, st.sampled_from(FORMS))
def test_passes_in_one_event_are_those_one_by_one_and_take_as_long_as_the_reference_says(
    policy: str,
    stores: str,
    machine: Machine,
    requests: tuple[Request, ...],
    max_batch: int | None,
    chunk: int,
    form: Overlap,
) -> None:
    machine = machine if stores == "stores" else with_free_stores(machine)
    fast, single, want = (
        serve(
            policy,
            machine,
            requests,
            max_batch=max_batch,
            prefill_chunk=chunk,
            overlap=form,
            executor=executor,
        )
        for executor in (simulated, one_pass_at_a_time, slow)
    )
    same_times(fast, single.times)
    same_times(fast, want.times)
    for direction in ("h2d_bytes", "d2h_bytes"):
        mine, slows = (sum(getattr(o, direction) for _, o, _ in r.steps) for r in (fast, want))
        assert mine == slows, direction


@pytest.mark.parametrize("chunk", [0, 5])
def test_no_offload_one_pass_at_a_time(chunk: int) -> None:
    machine = small_machine(160)
    requests = [Request(i, 0.31 * i, 5 + 7 * i % 40, 1 + 11 * i % 60) for i in range(30)]
    fast = serve("no-offload", machine, requests, prefill_chunk=chunk)
    single = serve(
        "no-offload", machine, requests, prefill_chunk=chunk, executor=one_pass_at_a_time
    )
    same_times(fast, single.times)


def test_an_arrival_at_a_pass_boundary_is_there_in_time() -> None:
    """A second request that comes just when a pass ends is admitted then, not a pass later."""
    machine = small_machine(2000)
    lone = serve("no-offload", machine, [Request(0, 0.0, 9, 30)]).times[0]
    pair = [Request(0, 0.0, 9, 30), Request(1, lone[10], 9, 30)]
    run = serve("no-offload", machine, pair)
    assert run.times[1][0] == pytest.approx(lone[10] + machine.cost.prefill_s(9))


def test_two_arrivals_at_one_pass_boundary_are_admitted_together() -> None:
    machine = small_machine(2000)
    lone = serve("no-offload", machine, [Request(0, 0.0, 9, 30)]).times[0]
    requests = [Request(0, 0.0, 9, 30), *(Request(i, lone[10], 9, 30) for i in (1, 2))]
    run = serve("no-offload", machine, requests)
    prompt_s = machine.cost.prefill_s(9)
    assert run.times[1][0] == pytest.approx(lone[10] + prompt_s)
    assert run.times[2][0] == pytest.approx(lone[10] + 2 * prompt_s)


def test_an_arrival_that_cannot_be_let_in_costs_nothing() -> None:
    """The passes go on as they were: what was prefetched is still good."""
    machine = small_machine(100, link_bytes_per_s=3.1e6)
    first = Request(0, 0.0, 61, 36)
    alone = serve("static-1", machine, [first])
    late = Request(1, alone.times[0][7] + 0.01, 61, 36)
    assert serve("static-1", machine, [first, late]).times[0] == pytest.approx(alone.times[0])


def test_a_store_starts_when_its_page_is_full_and_not_when_the_step_ends() -> None:
    """The next prompt's write-out must not queue behind stores that were over long ago."""
    machine = small_machine(60, link_bytes_per_s=3.1e5)
    pair = [Request(0, 0.0, 9, 5), Request(1, 0.0, 9, 5)]
    fast = serve("static-1", machine, pair, max_batch=1)
    single = serve("static-1", machine, pair, max_batch=1, executor=one_pass_at_a_time)
    same_times(fast, single.times)


@pytest.mark.parametrize("form", FORMS)
def test_a_pass_shorter_than_the_part_outside_the_layers_still_runs_forward(form: Overlap) -> None:
    """A pass of prompt pieces alone can be shorter than what a decode pass does outside its layers.

    Its layers cannot take negative time, so it cannot wait longer than its transfers take.
    """
    machine = small_machine(400)
    prefill = PrefillFit(base_s=0.0001, token_s=0.0001, pair_s=0.0)
    passes = LinePasses(lines(machine.cost).decode, prefill)
    machine = machine._replace(cost=replace(machine.cost, passes=passes))
    run = serve(
        "static-1",
        with_free_stores(machine),
        [Request(0, 0.0, 33, 1)],
        prefill_chunk=4,
        overlap=form,
    )
    for _, outcome, _ in run.steps:
        assert outcome.stall_s <= outcome.link_busy_s * (1 + 1e-9)


def test_a_load_that_ends_within_a_step_of_a_new_batch_leaves_the_ring_as_it_should_be() -> None:
    """Passes after the load's end never were; those before it start from an empty ring."""
    machine = small_machine(2000, link_bytes_per_s=8e6)
    plane = DataPlane(Overlap.RING, write_through=True, ring_groups=2)
    layers = (0, 3)
    load = Move(0, MoveKind.LOAD, 9, (1, 2), 400, False)

    def step(number: int, contexts: list[int], passes: int) -> Step:
        at = np.array(contexts)
        ids, moves = tuple(range(len(contexts))), (load,) if number == 1 else ()
        streams = (Stream(layers, layers, at),)
        return Step(number, (), ids, int(at.sum()), at, streams, 60, moves, passes, number, True)

    steps = [step(1, [81, 60], 1), step(2, [82], 10)]
    fast, want = simulated(machine, plane), slow(machine, plane)
    first = fast.execute(steps[0], 0.0, inf)
    assert first.pass_end_s == pytest.approx(want.execute(steps[0], 0.0, inf).pass_end_s)
    assert first.moves_done == ()
    second = fast.execute(steps[1], first.end_s, inf)
    assert second.moves_done == (0,)
    assert len(second.pass_end_s) < 10
    now = first.end_s
    for j, end_s in enumerate(second.pass_end_s.tolist()):
        now = want.execute(step(2, [82 + j], 1), now, inf).end_s
        assert end_s == pytest.approx(now, rel=1e-9)
