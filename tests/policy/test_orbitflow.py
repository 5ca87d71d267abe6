"""`orbitflow` and `uniform-ilp`: decisions by hand, switches, admission, the ILP's turn."""

from __future__ import annotations

import pytest
from reference.harness import serve
from reference.standing import Server
from strategies import small_machine

from orbitflow.config import SolverName, Tuning, Victim
from orbitflow.placement import RESIDENT
from orbitflow.policy.orbitflow.policy import OrbitFlow, uniform_ilp
from orbitflow.request import Request

HALF = (1, 3, 5, 7)


def test_the_one_who_makes_room_goes_to_the_host() -> None:
    """Two pages of growth ahead, A has 6 pages in each of 8 layers and B has 4: 80 pages. To get by
    with 72, 8 must be gained. Every second layer of A frees 4 x 5 and its ring takes 2 x 5: 10.
    B's frees 12 - 6, both with two layers 16 - 16, one layer never pays for its ring.
    """
    server = Server("orbitflow", 72)
    server.run(65)
    server.run(33)
    decision = server.decide()
    assert decision.placement.host_layers(0) == HALF
    assert decision.placement.host_layers(1) == RESIDENT
    assert decision.window is not None
    # A holds 4 x pages + 4 tails + 10 of ring, B 8 x pages. With 32 more tokens 28 + 10 + 32 = 70;
    # the next page of each (A after 96 tokens, B after 64) takes 4 + 2 and 8 more.
    assert decision.window == 32


def test_what_fits_stays_and_is_kept_for_as_long_as_it_fits() -> None:
    server = Server("orbitflow", 96)
    server.run(65)
    server.run(33)
    decision = server.decide()
    assert decision.placement.default == RESIDENT
    assert not decision.placement.exceptions
    assert decision.window == 48  # 80 pages for 32 passes, and one of each layer for both: 16 more


def test_uniform_ilp_gives_all_the_same() -> None:
    server = Server("uniform-ilp", 72)
    server.run(65)
    server.run(33)
    decision = server.decide()
    assert decision.placement.host_layers(0) == decision.placement.host_layers(1) == HALF


def test_without_room_for_both_the_latest_rests() -> None:
    server = Server("uniform-ilp", 46)  # A alone: 4 x 6 + 4 + 10 = 38; B's smallest, 24 more
    server.run(65)
    latest = server.run(33)
    assert server.decide().pause == (latest.id,)


@pytest.mark.parametrize(
    ("tuning", "admission", "deposit"),
    [
        (Tuning(), "while every SLO holds", True),
        (Tuning(gate=False), "pages are free", True),
        (Tuning(deposit=False), "while every SLO holds", False),
    ],
)
def test_switches_are_declared(tuning: Tuning, admission: str, deposit: bool) -> None:
    policy = OrbitFlow()
    policy.configure(tuning)
    assert policy.admission == admission
    assert policy.has_deposit is deposit


def test_uniform_ilp_has_the_refiner_and_nothing_else() -> None:
    policy = uniform_ilp()
    policy.configure(Tuning(victim=Victim.LONGEST))
    assert policy.admission == "pages are free"
    assert not policy.has_deposit


def test_the_gate_waits_for_balances_and_then_lets_in() -> None:
    # The second prompt takes 0.005 + 1500 x 0.00072 + 1500 x 1500 / 2 x 0.0000017 = 3.0 s. For a
    # reader with two tokens who wants one every 0.4 s that is 5.7 late ones, for 0.3 s too many.
    machine = small_machine(8000)
    requests = [Request(0, 0.0, 20, 300), Request(1, 0.03, 1500, 5)]
    ungated = OrbitFlow()
    ungated.configure(Tuning(gate=False))
    starts = {}
    for tbt_limit_s in (0.4, 0.3):
        run = serve(OrbitFlow(), machine, requests, tbt_limit_s=tbt_limit_s)
        starts[tbt_limit_s] = run.finished[1].admitted_s
    run = serve(ungated, machine, requests, tbt_limit_s=0.3)
    assert starts[0.4] == run.finished[1].admitted_s < 0.2
    assert 0.2 < starts[0.3] < 3.0, "as soon as a token or two are banked"


def test_nobody_new_while_somebody_rests_and_first_come_first_served() -> None:
    machine = small_machine(160)
    requests = [Request(i, 0.001 * i, 30, 25) for i in range(9)]
    run = serve("orbitflow", machine, requests, tbt_limit_s=0.1)
    starts = [run.finished[i].admitted_s for i in range(9)]
    assert starts == sorted(starts)
    paused: set[int] = set()
    for _, _, events in run.steps:
        paused |= set(events.paused)
        assert not (events.admitted and paused - set(events.resumed))
        paused -= set(events.resumed)


def test_the_program_is_asked_beside_the_passes_and_once_per_batch() -> None:
    machine = small_machine(300, link_bytes_per_s=3.1e6)
    requests = [Request(i, 0.01 * i, 20 + 3 * i, 50) for i in range(8)]
    plans = {}
    for solver in SolverName:
        policy = OrbitFlow()
        policy.configure(Tuning(gate=False, solver=solver))
        run = serve(policy, machine, requests, tbt_limit_s=0.03)
        assert policy.planning is not None
        assert not policy.planning.troubles
        assert run.plans <= policy.planning.searches
        plans[solver] = run.plans
    assert plans[SolverName.AUTO] == 0, "the search answers by itself"
    assert plans[SolverName.ILP] > 0
