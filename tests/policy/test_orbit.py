"""`orbit`: who is let in when, turns, what each switch takes away, and the integer program."""

from __future__ import annotations

import pytest
from reference.harness import Run, serve
from strategies import Machine, small_machine

from orbitflow.config import LengthsKnown, SolverName, Tuning
from orbitflow.engine.policy import Decision, Lengths, View
from orbitflow.policy.orbit.policy import Orbit
from orbitflow.request import Request
from orbitflow.results.metrics import pace
from orbitflow.step import MoveKind

TAU_S = 0.08
MACHINE = small_machine(200, link_bytes_per_s=3e6)


def _limit(request: Request) -> float:
    return request.slo_ttft_s or 1e9


def _run(
    requests: list[Request],
    machine: Machine = MACHINE,
    *,
    tuning: Tuning | None = None,
    max_batch: int | None = None,
    tbt_limit_s: float = TAU_S,
) -> tuple[Run, Orbit]:
    policy = Orbit()
    policy.configure(tuning or Tuning())
    run = serve(
        policy, machine, requests, tbt_limit_s=tbt_limit_s, max_batch=max_batch, ttft_of=_limit
    )
    assert len(run.finished) == len(requests)
    return run, policy


def _timely(run: Run, tbt_limit_s: float = TAU_S) -> float:
    paces = [pace(f.token_times_s, tbt_limit_s, deposit=True) for f in run.finished.values()]
    return sum(p.due_s for p in paces) / sum(p.reading_s for p in paces)


def _overload() -> list[Request]:
    return [Request(i, 1.5 * i, 40 + 13 * (i % 4), 60 + 20 * (i % 3)) for i in range(30)]


def test_who_can_still_make_it_goes_before_who_cannot() -> None:
    """One place. Request 0 takes some 3 s; 1 waits from 0.1 s on and is late after 0.5 s, 2 comes
    at 3 s with time enough: it starts first, the late one after it.
    """
    requests = [
        Request(0, 0.0, 20, 90, None, 9.0),
        Request(1, 0.1, 20, 5, None, 0.5),
        Request(2, 3.0, 20, 5, None, 60.0),
    ]
    run, _ = _run(requests, max_batch=1)
    first = {number: times[0] for number, times in run.times.items()}
    assert first[2] < first[1]
    assert first[0] < first[2]


def test_an_arrival_ends_the_step_while_others_are_parked_or_wait() -> None:
    """First come first served would not look at it before the window is over."""
    run, _ = _run(_overload())
    paused = False
    for step, _, events in run.steps:
        paused |= bool(events.paused)
        assert step.stop_on_arrival
    assert paused


def test_without_room_turns_are_taken_and_nobody_starves() -> None:
    run, policy = _run(_overload())
    assert run.parks > 5
    assert policy.planning is not None
    assert policy.planning.searches > 10
    kinds = {move.kind for step, _, _ in run.steps for move in step.moves}
    assert {MoveKind.PAUSE, MoveKind.RESUME, MoveKind.LOAD} <= kinds


@pytest.mark.parametrize(
    "changes",
    [{"pause": False}, {"gate": False}, {"preload": False}, {"deposit": False}],
)
def test_each_switch_takes_something_out(changes: dict[str, bool]) -> None:
    whole, _ = _run(_overload())
    run, policy = _run(_overload(), tuning=Tuning(**changes))  # type: ignore[arg-type]
    assert run.times != whole.times
    kinds = {move.kind for step, _, _ in run.steps for move in step.moves}
    if "preload" in changes:
        assert MoveKind.LOAD not in kinds
    if "pause" in changes:
        assert run.parks < whole.parks
    assert policy.has_deposit == changes.get("deposit", True)


def test_the_door_keeps_readers_fed() -> None:
    gated, _ = _run(_overload())
    free, _ = _run(_overload(), tuning=Tuning(gate=False))
    assert _timely(gated) > _timely(free)
    assert _timely(gated) > 0.9


def test_the_oracle_is_declared() -> None:
    _, policy = _run(_overload()[:3], tuning=Tuning(lengths=LengthsKnown.ORACLE))
    assert policy.lengths is Lengths.ORACLE
    assert Orbit().lengths is Lengths.QUANTILE


def test_every_plan_from_the_integer_program() -> None:
    few = _overload()[:8]
    run, policy = _run(few, tuning=Tuning(solver=SolverName.ILP))
    assert policy.planning is not None
    assert policy.planning.troubles == []
    assert policy.planning.searches > 3
    assert len(run.finished) == len(few)
    assert policy.last_draft is None or policy.last_draft.plan.by in ("ilp", "kept", "alone")


@pytest.mark.parametrize(("prompt", "output"), [(61, 40), (100, 6)])
def test_a_request_that_fits_only_alone_is_served(prompt: int, output: int) -> None:
    """The planner's account of the ring, safe for any layers, has no room for it, once it has grown
    or from the first; alone it has.
    """
    drafts: list[str] = []

    class Noted(Orbit):
        def decide(self, view: View) -> Decision:
            decision = super().decide(view)
            drafts.append(self.last_draft.plan.by if self.last_draft else "easy")
            return decision

    machine = small_machine(60, link_bytes_per_s=3e5)
    run = serve(Noted(), machine, [Request(0, 0.0, prompt, output)])
    assert run.parks == 0
    assert len(run.finished) == 1
    assert "alone" in drafts


def test_a_lost_request_counts_less() -> None:
    """What is late anyway gives way: with weight 0 for lost ones, the others are fed no worse."""
    requests = [Request(i, 0.4 * i, 60, 80, None, 0.001 if i % 2 else 50.0) for i in range(10)]

    def fed(weight: float) -> float:
        run, _ = _run(requests, tuning=Tuning(gate=False, lost_weight=weight))
        paces = [pace(run.finished[i].token_times_s, TAU_S, deposit=True) for i in range(0, 10, 2)]
        return sum(p.due_s for p in paces) / sum(p.reading_s for p in paces)

    assert fed(0.0) > fed(1.0)


def test_streaming_does_not_keep_for_ever_what_loads_in_the_background() -> None:
    """Loads get what streaming leaves of the link. Resumed before its load is done, a request is
    streamed whole in every pass; where that fills the link, nothing is ever loaded, and passes of
    milliseconds take a second (366 s in all, before those who wait so were made to rest).
    """
    lengths = [
        *((34, 157, 1.0), (19, 169, 1.0), (37, 149, 1.0), (9, 42, 5.0), (21, 37, 1.0)),
        *((10, 161, 5.0), (9, 164, 1.0), (38, 77, 60.0), (28, 169, 1.0), (26, 169, 5.0)),
        *((9, 76, 1.0), (25, 54, 5.0), (21, 56, 60.0), (11, 166, 5.0), (25, 194, 1.0)),
        (11, 168, 60.0),
    ]
    requests = [
        Request(i, 0.948908053396882 * i, prompt, output, None, limit_s)
        for i, (prompt, output, limit_s) in enumerate(lengths)
    ]
    machine = small_machine(600, link_bytes_per_s=1278169.9534573557)
    run, _ = _run(requests, machine, tbt_limit_s=0.2)
    assert max(times[-1] for times in run.times.values()) < 100
