"""What every driver does with a step, whatever clock it runs on.

Only order, counts and residency are looked at, never how long something takes.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from reference.harness import Run
from strategies import LAYERS, POLICIES, Machine, small_machine

from contract.drivers import DRIVERS, Driver
from contract.toys import Rule, Toy, host_of
from orbitflow.engine.engine import ServingCore
from orbitflow.engine.journal import Entry, Journal, replay
from orbitflow.engine.policy import Decision, Policy, View
from orbitflow.placement import HostLayers, Placement, stride
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request
from orbitflow.step import Events, Move, MoveKind, Step, StepOutcome

ALL: HostLayers = stride(LAYERS, 0)
HALF: HostLayers = (3, 4, 5)
MACHINE = small_machine(2000, link_bytes_per_s=3.1e7)
PAIR = (Request(0, 0.0, 41, 60), Request(1, 0.0, 41, 60))
LATENCY_S = 0.111


@pytest.fixture(params=sorted(DRIVERS))
def driver(request: pytest.FixtureRequest) -> Driver:
    """One driver after the other."""
    return DRIVERS[request.param]


class Driven(NamedTuple):
    run: Run
    entries: list[Entry]


def covered(core: ServingCore, step: Step, outcome: StepOutcome, events: Events) -> None:
    """Assert that the account holds the pages that are on the GPU."""
    limits = core.limits
    pages = 0
    for state in core.queues.active.values():
        tokens = state.context_tokens(core.passes) - 1 if state.generated_before else 0
        pages += (limits.layers - len(state.host)) * limits.pages(tokens)
    for state in core.queues.paused.values():
        tokens = state.context_tokens(core.passes) - 1
        pages += (limits.layers - len(state.host)) * limits.pages(tokens)
    assert pages <= core.account.gpu_used, "KV on the GPU that the account knows nothing of"


def drive(
    driver: Driver, policy: Policy, requests: tuple[Request, ...], machine: Machine = MACHINE
) -> Driven:
    """Let the driver serve the requests; check what must hold of every run."""
    policy.bind(machine.limits, machine.cost)
    core = ServingCore(policy, machine.limits, tbt_limit_s=0.1)
    journal = Journal(core)
    run = Run(core, covered)
    driver(journal, machine, policy.data_plane, requests, run, LATENCY_S)
    assert core.is_drained
    for request in requests:
        assert len(run.finished[request.id].token_times_s) == request.output_tokens
    for step, outcome, _ in run.steps:
        blocking = {move.id for move in step.moves if move.blocking}
        assert blocking <= set(outcome.moves_done), "passes began before a blocking move was done"
        assert len(outcome.pass_end_s) <= step.passes
        assert not step.passes or len(outcome.pass_end_s) >= 1, "a step must make one pass"
    asked = [move.id for move in moves(run)]
    done = [move_id for _, outcome, _ in run.steps for move_id in outcome.moves_done]
    assert len(set(done)) == len(done)
    assert sorted(done) == sorted(asked)
    return Driven(run, journal.entries)


def moves(run: Run, kind: MoveKind | None = None) -> list[Move]:
    """All moves asked for, or those of one kind."""
    return [m for step, _, _ in run.steps for m in step.moves if kind in (None, m.kind)]


def done_in(run: Run, move_id: int) -> int:
    """The step that did a move."""
    return next(i for i, (_, o, _) in enumerate(run.steps) if move_id in o.moves_done)


def asked_in(run: Run, move_id: int) -> int:
    """The step that carried a move."""
    return next(i for i, (s, _, _) in enumerate(run.steps) if move_id in [m.id for m in s.moves])


def streamed(step: Step) -> set[int]:
    """Layers that a step streams for somebody."""
    return {layer for stream in step.streams for layer in stream.layers}


def rotate(toy: Toy, view: View) -> Decision:
    """Park request 1, load half of it back in the background, resume it when that is there."""
    everywhere = Placement(HALF)
    if view.passes < 8 or 0 not in {s.id for s in view.active}:
        return Decision(resume=tuple(s.id for s in view.paused), placement=everywhere, window=4)
    host = host_of(view, 1)
    if host is None and view.passes < 12:
        return Decision(pause=(1,), placement=everywhere, window=4)
    if host is not None and host != HALF:
        return Decision(placement=Placement(HALF, {1: HALF}), window=4)
    return Decision(resume=() if host is None else (1,), placement=everywhere, window=4)


def swing(toy: Toy, view: View) -> Decision:
    """Everything on the GPU, then half of it, then everything again."""
    return Decision(placement=Placement(HALF if 10 <= view.passes < 20 else ()), window=5)


def test_a_parked_request_is_loaded_in_the_background_and_resumes(driver: Driver) -> None:
    run = drive(driver, Toy(rotate), PAIR).run
    (pause,) = moves(run, MoveKind.PAUSE)
    loads = moves(run, MoveKind.LOAD)
    (resume,) = moves(run, MoveKind.RESUME)
    assert (pause.request_id, resume.request_id) == (1, 1)
    assert {layer for load in loads for layer in load.layers} == set(ALL) - set(HALF)
    assert not any(load.blocking for load in loads)
    last = max(done_in(run, load.id) for load in loads)
    assert asked_in(run, pause.id) < asked_in(run, loads[0].id) <= last < asked_in(run, resume.id)
    for step, outcome, _ in run.steps[asked_in(run, loads[0].id) : last + 1]:
        assert step.decode_ids == (0,)
        assert len(outcome.pass_end_s) >= 1, "a background load held up the passes"
    after = run.steps[asked_in(run, resume.id)][0]
    assert set(after.decode_ids) == {0, 1}
    assert streamed(after) == set(HALF), "what was loaded ahead is streamed all the same"
    assert run.finished[1].paused_s > 0
    assert run.finished[0].paused_s == 0


def test_a_load_brings_its_bytes_and_streams_nothing_twice(driver: Driver) -> None:
    run = drive(driver, Toy(rotate), PAIR).run
    for load in moves(run, MoveKind.LOAD):
        assert load.pages == len(load.layers) * ((41 + 8) // 4)


def test_a_promotion_is_done_after_one_pass(driver: Driver) -> None:
    run = drive(driver, Toy(swing), PAIR).run
    promotions = moves(run, MoveKind.PROMOTE)
    assert len(promotions) == 2
    for move in promotions:
        at = asked_in(run, move.id)
        step, outcome, _ = run.steps[at]
        assert done_in(run, move.id) == at
        assert len(outcome.pass_end_s) == 1
        assert streamed(step) == set(HALF), "a promotion takes its bytes from one more streaming"
        assert not any(stream.staged for stream in step.streams)
        assert streamed(run.steps[at + 1][0]) == set()


def test_a_demotion_is_over_before_the_first_pass(driver: Driver) -> None:
    run = drive(driver, Toy(swing), PAIR).run
    demotions = moves(run, MoveKind.DEMOTE)
    assert {move.request_id for move in demotions} == {0, 1}
    for move in demotions:
        assert move.blocking
        assert move.pages == 0, "what is written through goes for nothing"
        step, _, _ = run.steps[asked_in(run, move.id)]
        assert streamed(step) == set(HALF)


def test_an_arrival_ends_the_step_at_the_next_boundary(driver: Driver) -> None:
    late = (*PAIR, Request(2, 0.5, 9, 5))

    def steady(toy: Toy, view: View) -> Decision:
        return Decision(placement=Placement(HALF), window=50)

    run = drive(driver, Toy(steady), late).run
    for step, outcome, _ in run.steps:
        if step.stop_on_arrival:
            assert not any(outcome.start_s < 0.5 <= end for end in outcome.pass_end_s[:-1])
    boundaries = sorted({o.end_s for _, o, _ in run.steps})
    assert run.finished[2].admitted_s == min(b for b in boundaries if b >= 0.5)


def test_a_plan_asked_for_is_adopted_between_two_passes(driver: Driver) -> None:
    def once(toy: Toy, view: View) -> Decision:
        host = HALF if toy.adopted else ()
        question = toy.ask(view.now_s, ("snapshot", view.passes)) if not toy.asked else None
        return Decision(placement=Placement(host), window=50, plan_request=question)

    toy = Toy(once)
    run = drive(driver, toy, PAIR).run
    assert len(toy.asked) == run.plans == 1
    ((plan, adopted_s),) = toy.adopted
    assert plan == (toy.asked[0].id, toy.asked[0].snapshot)
    ready_s = toy.asked[0].asked_s + LATENCY_S
    boundaries = sorted(o.end_s for _, o, _ in run.steps)
    assert adopted_s == min(b for b in boundaries if b >= ready_s - 1e-9)
    first = next(step for step, _, _ in run.steps if streamed(step))
    assert any(m.kind is MoveKind.DEMOTE for m in first.moves)


def test_a_policy_may_wait_for_its_plan_on_an_idle_machine(driver: Driver) -> None:
    class Patient(Toy):
        def decide(self, view: View) -> Decision:
            if self.adopted:
                return super().decide(view)
            if self.asked or not list(view.waiting):
                return Decision()
            self.is_planning = True
            return Decision(plan_request=self.ask(view.now_s, None))

        def adopt(self, plan: object, now_s: float) -> None:
            self.is_planning = False
            self.adopted.append((plan, now_s))  # type: ignore[arg-type]

    toy = Patient(swing)
    run = drive(driver, toy, (Request(0, 0.25, 9, 5),)).run
    assert toy.adopted[0][1] >= toy.asked[0].asked_s + LATENCY_S
    assert run.finished[0].admitted_s == toy.adopted[0][1]


def test_every_plan_asked_for_is_adopted_once(driver: Driver) -> None:
    """One question at a time; the next may be asked as soon as the last is answered."""

    def often(toy: Toy, view: View) -> Decision:
        is_open = len(toy.asked) > len(toy.adopted) or view.passes >= 30
        question = None if is_open else toy.ask(view.now_s, view.passes)
        return Decision(placement=Placement(HALF), window=1, plan_request=question)

    toy = Toy(often)
    run = drive(driver, toy, PAIR).run
    assert run.plans == len(toy.asked) > 3
    assert [plan.request_id for plan, _ in toy.adopted] == [q.id for q in toy.asked]


@pytest.mark.parametrize("after", ["kept parked", "resumed and parked again"])
def test_a_load_that_is_no_longer_wanted_leaves_nothing_on_the_gpu(
    driver: Driver, after: str
) -> None:
    """The account must hold what a load brings, also when the policy has changed its mind."""

    def fickle(toy: Toy, view: View) -> Decision:
        now, paused = view.passes, host_of(view, 1) is not None
        plain, ahead = Placement(HALF), Placement(HALF, {1: ()})
        if 0 not in {s.id for s in view.active} or not 4 <= now < 30:
            return Decision(resume=tuple(s.id for s in view.paused), placement=plain, window=1)
        if now == 4:
            return Decision(pause=(1,), placement=plain, window=1)
        if now == 5:
            return Decision(placement=ahead, window=1)
        if now == 6 and after == "resumed and parked again":
            return Decision(resume=(1,) if paused else (), placement=plain, window=1)
        return Decision(pause=() if paused else (1,), placement=plain, window=1)

    slow_link = small_machine(2000, link_bytes_per_s=6e6)  # a load takes several passes
    drive(driver, Toy(fickle), PAIR, slow_link)


RULES: dict[str, Rule] = {"rotate": rotate, "swing": swing}


@pytest.mark.parametrize("name", [*POLICIES, *RULES])
def test_a_journal_replays_bit_for_bit(driver: Driver, name: str) -> None:
    def policy() -> Policy:
        return Toy(RULES[name]) if name in RULES else make_policy(name)

    requests = (*PAIR, *(Request(i, 0.31 * i, 7 + 5 * i, 3 * i) for i in range(2, 9)))
    entries = drive(driver, policy(), requests).entries
    fresh = policy()
    fresh.bind(MACHINE.limits, MACHINE.cost)
    core = ServingCore(fresh, MACHINE.limits, tbt_limit_s=0.1)
    assert replay(entries, core) is None
    assert core.is_drained
    assert drive(driver, policy(), requests).entries[-1] == entries[-1]
