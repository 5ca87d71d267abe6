"""Bytes moved are bytes planned: every step's outcome says what the step asked for, to the byte."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

from reference.served import PAGE, ROOMY, Served, Server, cost_model, server, tiny_decoder
from reference.served_bytes import Ledger
from reference.served_policy import Restless
from reference.stepped_channel import LinkMode

from orbitflow.backend.link.channel import Channel, Copy, bytes_of
from orbitflow.backend.link.events import Event

POLICIES = (
    *("preempt-swap", "preempt-recompute", "zero-inference", "neo", "flexgen", "static-1"),
    *("dynamic", "select-n-artifact", "flexgen-plus", "orbitflow", "orbit"),
)


class Weighed:
    """What a channel is given."""

    def __init__(self, channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.copied_bytes = 0
        submit = channel.submit

        def weigh(copies: Iterable[Copy], wait_for: Iterable[Event] = (), label: str = "") -> Event:
            batch = tuple(copies)
            self.copied_bytes += bytes_of(batch)
            return submit(batch, wait_for, label)

        monkeypatch.setattr(channel, "submit", weigh)


def compare(served: Served, machine: Server) -> tuple[int, int]:
    """Hold every step's outcome to its plan; return the bytes up and down of the whole run."""
    ledger = Ledger(cost_model(tiny_decoder(), PAGE), machine.policy.data_plane)
    ahead = up = down = 0
    for step, outcome in served.steps:
        up_bytes, down_bytes = ledger.enter(step, outcome)
        loaded = outcome.h2d_bytes - up_bytes
        ahead += loaded
        assert 0 <= ahead <= ledger.loads, f"step {step.number}: {loaded} bytes up too many"
        assert outcome.d2h_bytes == down_bytes, f"step {step.number}"
        up, down = up + outcome.h2d_bytes, down + outcome.d2h_bytes
    assert ahead == ledger.loads, "not all that was to be loaded was"
    return up, down


@pytest.mark.parametrize(("number", "policy"), [*enumerate(POLICIES)])
def test_every_step_moves_what_it_says(
    number: int, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk, stops = (5, number) if number % 2 else (0, None)
    machine = server(policy, 48, LinkMode.LATE, chunk=chunk)
    links = [Weighed(channel, monkeypatch) for channel in (machine.plane.up, machine.plane.down)]
    served = Served(machine, stops=stops)
    up, down = compare(served, machine)
    dropped = machine.store.traffic.dropped
    assert [link.copied_bytes for link in links] == [up + dropped, down]
    if policy == "preempt-recompute":
        assert (up, down) == (0, 0)
    elif policy == "zero-inference":
        assert up == 0
    elif policy != "preempt-swap":
        assert up > 0
        assert down > 0


@pytest.mark.parametrize("seed", range(4))
def test_whatever_moves_moves_what_it_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With background loads, and with requests that are dropped."""
    chunk = 5 * (seed % 2)
    policy = Restless(seed, drops=seed >= 2)
    machine = server(policy, ROOMY, LinkMode.MANUAL, seed=seed, chunk=chunk)
    links = [Weighed(channel, monkeypatch) for channel in (machine.plane.up, machine.plane.down)]
    served = Served(machine)
    up, down = compare(served, machine)
    assert [link.copied_bytes for link in links] == [up + machine.store.traffic.dropped, down]
    assert machine.store.traffic.loaded
