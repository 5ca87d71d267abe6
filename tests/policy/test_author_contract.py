"""What an author of a policy is given: `View.fits`, a default `pages_alone`, and 30 lines."""

from __future__ import annotations

import inspect
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.harness import serve
from reference.standing import TAU_S, Server
from strategies import Machine, machines, small_machine, workloads

from orbitflow.engine.engine import ServingCore
from orbitflow.engine.policy import DataPlane, Decision, Lengths, Policy, View
from orbitflow.errors import PolicyError
from orbitflow.machine.pipeline import HostRead, Overlap
from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT, HostLayers, Placement, stride
from orbitflow.request import Request


class EvenStream(Policy):
    """Everybody has the same layers on the host, as few as fit; growth pauses the latest."""

    name = "even-stream"
    lengths = Lengths.NONE
    data_plane = DataPlane(Overlap.RING, write_through=True, ring_groups=2)
    admission = "pages are free"

    def decide(self, view: View) -> Decision:
        """Make room for growth; if there is room, let in the paused, then the waiting."""
        active = [s.id for s in view.active]
        best, kept = self._placed(view), len(active)
        while best is None:
            kept -= 1
            best = self._placed(view, pause=tuple(active[kept:]))
        queue = [("resume", s.id) for s in view.paused] + [("admit", r.id) for r in view.waiting]
        for how, request_id in queue if kept == len(active) else ():
            who = {"admit": best.admit, "resume": best.resume}
            more = self._placed(view, **(who | {how: (*who[how], request_id)}))
            if more is None:
                break
            best = more
        return best

    def _placed(self, view: View, **who: tuple[int, ...]) -> Decision | None:
        for window in (64, 16, 1):
            for placement in [Placement(stride(self.limits.layers, d)) for d in (999, 7, 3, 1, 0)]:
                if view.fits(placement, window, **who):
                    admit, pause, resume = (who.get(k, ()) for k in ("admit", "pause", "resume"))
                    return Decision(admit, pause, resume, placement, window)
        return None


def test_a_streaming_policy_takes_thirty_lines() -> None:
    lines = [line for line in inspect.getsource(EvenStream).splitlines() if line.strip()]
    assert len(lines) <= 30
    assert not re.search(r"(?<!self)\._", "\n".join(lines)), "public names only"


def test_it_streams_pauses_and_serves_everybody() -> None:
    machine = small_machine(160, link_bytes_per_s=3e6)
    run = serve(EvenStream(), machine, [Request(i, 0.1 * i, 60, 40) for i in range(6)])
    assert len(run.finished) == 6
    assert any(step.streams for step, _, _ in run.steps)
    assert run.parks > 0


@settings(derandomize=True, max_examples=60)
@given(machines(), workloads(8))
def test_what_the_default_accepts_it_serves(
    machine: Machine, requests: tuple[Request, ...]
) -> None:
    run = serve(EvenStream(), machine, requests)
    assert len(run.finished) + len(run.refusals) == len(requests)


# -- View.fits: the engine's account says the same -------------------------------------------------


class Enough(Exception):
    """No decision was found that leaves somebody running and fits."""


class Anything(Policy):
    """Decisions drawn at random that `fits` accepts; now and then one that it does not."""

    name = "anything"
    lengths = Lengths.NONE
    admission = "at random"

    def __init__(self, seed: int, plane: DataPlane, trust: float) -> None:
        self.data_plane = plane
        self.dice = Random(seed)
        self.trust = trust
        self.fits = True  # what `fits` says of the last decision

    def decide(self, view: View) -> Decision:
        """Draw until one leaves somebody running and fits, or is tried though it does not."""
        for _ in range(50):
            decision, is_alive = self._drawn(view)
            assert decision.window is not None
            self.fits = view.fits(
                decision.placement,
                decision.window,
                admit=decision.admit,
                pause=decision.pause,
                resume=decision.resume,
            )
            if is_alive and (self.fits or self.dice.random() > self.trust):
                return decision
        raise Enough

    def _drawn(self, view: View) -> tuple[Decision, bool]:
        dice, layers = self.dice, self.limits.layers

        def some(ids: list[int]) -> tuple[int, ...]:
            return tuple(i for i in ids if dice.random() < 0.4)

        def host() -> tuple[int, ...]:
            return tuple(sorted(dice.sample(range(layers), dice.choice((0, 1, 3, layers)))))

        active, paused = [s.id for s in view.active], [s.id for s in view.paused]
        admit, pause, resume = some([r.id for r in view.waiting]), some(active), some(paused)
        named: dict[int, HostLayers] = {}
        default = stride(layers, 0)
        if self.data_plane.write_through:
            named = {i: host() for i in (*active, *paused, *admit) if dice.random() < 0.5}
            default = host()
        else:
            named.update(dict.fromkeys((*active, *admit, *resume), RESIDENT))
        decision = Decision(admit, pause, resume, Placement(default, named), dice.randint(1, 40))
        return decision, len(active) + len(admit) + len(resume) > len(pause)


PLANES = (
    DataPlane(Overlap.RING, write_through=True, ring_groups=2),
    DataPlane(Overlap.RING, write_through=False, ring_groups=0),
    DataPlane(
        Overlap.BARRIER,
        write_through=True,
        ring_groups=2,
        host_read=HostRead(fetched_share=0.2, kept_share=0.5, whole_layers=2),
    ),
)


@pytest.mark.parametrize("plane", PLANES)
@settings(derandomize=True, max_examples=120)
@given(machines(), workloads(8), st.integers(0, 2**32), st.sampled_from((None, 3)))
def test_fits_says_what_the_engine_will_accept(
    plane: DataPlane,
    machine: Machine,
    requests: tuple[Request, ...],
    seed: int,
    max_batch: int | None,
) -> None:
    policy = Anything(seed, plane, trust=0.8)
    try:
        serve(policy, machine, requests, max_batch=max_batch)
    except Enough:
        return
    except PolicyError:
        assert not policy.fits
        return
    assert policy.fits


def test_fits_by_hand() -> None:
    """One request of 33 tokens in 8 layers: 3 pages each, 24; with half on the host 4 x 3 + 4 tails
    + 2 x 2 of ring = 20, one page more of each from 16 passes on: 4 x 4 + 4 + 2 x 3 = 26.
    """
    policy, limits = EvenStream(), KvLimits(8, 16, 20, 40)
    policy.bind(limits, Server("dynamic", 20).policy.cost)
    core = ServingCore(policy, limits, tbt_limit_s=TAU_S)
    core.submit(Request(0, 0.0, 32, 20), 0.0)
    core.submit(Request(1, 0.0, 32, 20), 0.0)
    half, view = Placement(stride(8, 1)), core._view
    assert view.fits(half, 16, admit=[0])
    assert not view.fits(half, 17, admit=[0])
    assert not view.fits(Placement(), 1, admit=[0])
    assert not view.fits(half, 1, admit=[0, 1])
    all_host = Placement(stride(8, 0))
    assert view.fits(all_host, 1, admit=[0]), "8 tails and 2 x 2 of ring"
    assert not view.fits(all_host, 1, admit=[0, 1]), "16 tails and 8 of ring; 64 host pages"
    assert view.fits(Placement(), 1), "nobody"


def test_the_default_pages_alone_by_hand() -> None:
    """100 tokens are 7 pages in each of 8 layers: 56, or 8 tails and a ring of 2 x 6."""
    policy = EvenStream()
    policy.limits = KvLimits(8, 16, 1_000)
    assert policy.pages_alone(Request(0, 0.0, 81, 20)) == (20, 56)
    policy.limits = KvLimits(8, 16, 1_000, ring_is_extra=True)
    assert policy.pages_alone(Request(0, 0.0, 81, 20)) == (8, 56)
    policy.data_plane = DataPlane(Overlap.RING, write_through=False, ring_groups=2)
    assert policy.pages_alone(Request(0, 0.0, 81, 20)) == (56, 0)
