"""No policy changes a bit: tokens and logits of every exact policy equal those without offloading,
in every link mode, with freed pages poisoned.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

from reference.served import PLENTY, Served, alone, same, server
from reference.stepped_channel import LinkMode

from orbitflow.config import Tuning
from orbitflow.policy.orbit.policy import Orbit
from orbitflow.policy.orbitflow.policy import OrbitFlow
from orbitflow.policy.registry import policy_names
from orbitflow.step import MoveKind

TIGHT = 64  # tokens of KV on the device, of some 250 wanted
EXACT = (
    *("preempt-swap", "deepspeed", "zero-inference", "flexgen", "static-1", "static-2"),
    *("flexgen-plus", "dynamic", "select-n", "select-n-artifact", "uniform-ilp", "neo"),
)
ELSEWHERE = {  # where the others are tested
    *("no-offload", "orbitflow", "orbit"),  # below
    "preempt-recompute",  # by tolerance, in test_identity_recomputed
    "infinigen",  # refused, in test_servable
    *("static-4", "static-8"),  # one layer of eight on the host: as static-2
}


def test_every_policy_is_tested() -> None:
    assert {*EXACT} | ELSEWHERE == {*policy_names()}


def test_serving_together_changes_nothing() -> None:
    same(Served(server("no-offload", PLENTY)).logits, alone())


@pytest.mark.parametrize("mode", [LinkMode.LATE, LinkMode.EARLY, LinkMode.PACED])
@pytest.mark.parametrize("policy", EXACT)
def test_no_policy_changes_a_bit(policy: str, mode: LinkMode) -> None:
    served = Served(server(policy, TIGHT, mode))
    same(served.logits, alone())
    assert served.kinds or any(step.streams for step, _ in served.steps), "nothing was offloaded"


@pytest.mark.parametrize("mode", [LinkMode.LATE, LinkMode.EARLY])
@pytest.mark.parametrize("tokens", [80, 120, 140])
def test_orbit_parks_some_layers_loads_others_and_changes_nothing(
    tokens: int, mode: LinkMode
) -> None:
    """Whoever rests keeps what memory allows, and gets layers back while others run."""
    policy = Orbit()
    policy.configure(Tuning(gate=False))
    served = Served(server(policy, tokens, mode))
    same(served.logits, alone())
    parks = [m for step, _ in served.steps for m in step.moves if m.kind is MoveKind.PAUSE]
    assert parks
    assert tokens < 120 or MoveKind.LOAD in served.kinds
    assert tokens < 120 or min(len(m.layers) for m in parks) < 8, "nobody kept a layer"


@pytest.mark.parametrize("tokens", [48, 64, 80, 100])
@pytest.mark.parametrize("gate", [True, False])
def test_orbitflow_parks_and_streams_and_changes_nothing(tokens: int, gate: bool) -> None:
    policy = OrbitFlow()
    policy.configure(Tuning(gate=gate))
    served = Served(server(policy, tokens))
    same(served.logits, alone())
    assert MoveKind.PROMOTE in served.kinds
