"""Nothing changes a bit in whatever order copies take effect, however small the ring is, wherever
steps end; and without a wait, something does.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

from reference.served import ROOMY, Served, alone, same, server
from reference.served_policy import Restless
from reference.stepped_channel import LinkMode

from orbitflow.backend.link.events import Wait
from orbitflow.machine.pipeline import Overlap
from orbitflow.policy.registry import make_policy
from orbitflow.step import MoveKind

MANUAL = LinkMode.MANUAL
ORDERS = [
    *(
        (policy, seed)
        for policy in ("orbit", "orbitflow", "dynamic", "static-1")
        for seed in range(3)
    ),
    *(("neo", 1), ("preempt-swap", 1), ("flexgen", 2), ("select-n-artifact", 1)),
    ("flexgen-plus", 2),
]


@pytest.mark.parametrize(("policy", "seed"), ORDERS)  # three degrees of keenness, see Shuffler
def test_copies_in_any_order(policy: str, seed: int) -> None:
    served = Served(server(policy, 64, MANUAL, seed=seed))
    same(served.logits, alone())


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("policy", ["orbit", "orbitflow", "static-1"])
def test_copies_in_any_order_and_steps_that_end_early(policy: str, seed: int) -> None:
    served = Served(server(policy, 48, MANUAL, seed=seed, chunk=5), stops=seed)
    assert any(len(outcome.pass_end_s) < step.passes for step, outcome in served.steps)
    same(served.logits, alone(chunk=5))


@pytest.mark.parametrize(("seed", "overlap"), [*enumerate([*Overlap, Overlap.RING])])
def test_moves_and_copies_in_any_order(seed: int, overlap: Overlap) -> None:
    """More than any policy asks for: background loads as well."""
    chunk = 5 * (seed % 2)
    policy = Restless(seed, overlap)
    served = Served(server(policy, ROOMY, MANUAL, seed=seed, chunk=chunk), stops=seed)
    assert served.kinds == {*MoveKind}
    same(served.logits, alone(chunk=chunk))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("name", ["static-1", "dynamic"])
def test_rings_of_one_group_and_more(name: str, groups: int) -> None:
    """One group is the least: the next can only travel when attention is done with the last."""
    policy = make_policy(name)
    policy.data_plane = replace(policy.data_plane, ring_groups=groups)
    served = Served(server(policy, 80, MANUAL, seed=groups))
    assert any(step.ring_pages for step, _ in served.steps)
    same(served.logits, alone())


NEEDED = [  # on a CPU compute never lags, so what waits for compute is tested in test_kv_races
    (Wait.LOADED, "static-1"),
    (Wait.STORED, "static-1"),
    (Wait.STORED, "zero-inference"),
    (Wait.FREED, "dynamic"),
    (Wait.READ, "preempt-swap"),
]


@pytest.mark.parametrize(("wait", "policy"), NEEDED)
def test_without_one_wait_logits_change(wait: Wait, policy: str) -> None:
    """With nobody keen to move copies, so that each takes effect as late as is legal."""
    served = Served(server(policy, 48, MANUAL, seed=0, off=[wait]))
    with pytest.raises(AssertionError, match=r"request \d+, token \d+"):
        same(served.logits, alone())
