"""Where the KV of every request lies after each decision, layer by layer.

A decision that reserves a window places everybody: who runs as its placement says, who is parked on
the host but for the layers that an exception keeps on the GPU. One without a window places only
whom it admits. A re-plan is a decision that moves layers of a request that was here before. What is
shown is what the decision wants; moves take their time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.placement import HostLayers
from orbitflow.report.read_files import LoggedDecision


class Fate(IntEnum):
    """What a request that was admitted does."""

    RUNS = 0
    PARKED = 1
    DROPPED = 2


class Held(NamedTuple):
    """One request's KV: what it does, and which layers are on the host."""

    fate: Fate
    host_layers: HostLayers


class Frame(NamedTuple):
    """Everybody's KV after one decision. `moved` says whether it was a re-plan."""

    number: int
    decision: LoggedDecision
    held: Mapping[int, Held]
    moved: bool


def frames(
    decisions: Sequence[LoggedDecision], requests: Mapping[str, FloatArray], layers: int
) -> Iterator[Frame]:
    """Walk through all decisions. `held` is one dictionary that goes on changing."""
    everything = tuple(range(layers))
    order = np.argsort(requests["last_token_s"], kind="stable")  # those without an end come last
    ends = iter(zip(requests["last_token_s"][order], requests["id"][order], strict=True))
    next_end = next(ends, None)
    held: dict[int, Held] = {}
    before: tuple[HostLayers, Mapping[int, HostLayers]] | None = None
    for number, decision in enumerate(decisions):
        while next_end is not None and next_end[0] <= decision.t_s:
            held.pop(int(next_end[1]), None)
            next_end = next(ends, None)
        _change_fates(held, decision, everything)
        wanted = (decision.default, decision.exceptions)
        moved = False
        if decision.places_all and (wanted != before or decision.resume or decision.park):
            moved = _place(held, decision, everything)
            before = wanted
        yield Frame(number, decision, held, moved)


def _change_fates(held: dict[int, Held], decision: LoggedDecision, everything: HostLayers) -> None:
    for request_id in decision.park:
        held[request_id] = Held(Fate.PARKED, everything)
    for request_id in decision.drop:
        held[request_id] = Held(Fate.DROPPED, ())
    for request_id in (*decision.resume, *decision.admit):
        wanted = decision.exceptions.get(request_id, decision.default)
        held[request_id] = Held(Fate.RUNS, wanted)


def _place(held: dict[int, Held], decision: LoggedDecision, everything: HostLayers) -> bool:
    """Give everybody the layers that the decision wants; whether any running one's change."""
    moved = False
    for request_id, (fate, layers) in held.items():
        if fate is Fate.DROPPED:
            continue
        other = decision.default if fate is Fate.RUNS else everything
        wanted = decision.exceptions.get(request_id, other)
        if wanted != layers:
            moved = moved or fate is Fate.RUNS
            held[request_id] = Held(fate, wanted)
    return moved


def evenly(count: int, most: int) -> set[int]:
    """At most so many of the numbers below `count`, the first and the last among them."""
    if count <= most:
        return set(range(count))
    return {round(i * (count - 1) / (most - 1)) for i in range(most)}
