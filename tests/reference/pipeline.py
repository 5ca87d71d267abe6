"""The pipeline of design 3.1 as a tiny discrete-event simulation at the level of groups.

One FIFO link, a staging ring counted in bytes, one compute unit. A group's load starts when the
link is free and its bytes fit beside those that are staged and not yet consumed. A layer starts
when the layer before it is done and its own group is there; at its end the group's bytes are free.
After the last layer comes the part outside the layers; then the next pass starts, but not before
its own `not_before_s`. Loads are queued for all passes from the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Group(NamedTuple):
    """What one host layer of one pass has to bring: link seconds, and bytes of the ring."""

    layer: int
    link_s: float
    ring_bytes: float


class Pass(NamedTuple):
    """One pass: its groups in order of layers, its layer time, its whole compute time."""

    groups: tuple[Group, ...]
    layer_s: float
    compute_s: float
    ring_bytes: float  # size of the ring that its loads are judged by
    not_before_s: float = 0.0


class Timed(NamedTuple):
    """When a pass started and ended."""

    start_s: float
    end_s: float


class _Load(NamedTuple):
    number: int  # of the pass
    group: Group


def simulate(passes: Sequence[Pass], layers: int, start_s: float) -> list[Timed]:
    """Run the passes from an empty ring and an idle link; give each one's start and end."""
    queue = [_Load(i, g) for i, p in enumerate(passes) for g in p.groups]
    needed = {(load.number, load.group.layer): load.group for load in queue}
    arrived: set[tuple[int, int]] = set()
    now, staged = start_s, 0.0
    loading: tuple[float, _Load] | None = None  # (end, load)
    busy_until: float | None = None  # of the layer, or of what follows the last one
    began: float | None = None  # the pass that is now under way
    timed: list[Timed] = []
    index, layer = 0, 0
    while index < len(passes):
        # Start all that can start at this moment.
        if loading is None and queue:
            head = queue[0]
            if staged + head.group.ring_bytes <= passes[head.number].ring_bytes:
                queue.pop(0)
                staged += head.group.ring_bytes
                loading = (now + head.group.link_s, head)
        current = passes[index]
        if busy_until is None and now >= current.not_before_s:
            began = now if began is None else began
            if layer == layers:
                busy_until = now + (current.compute_s - layers * current.layer_s)
            elif (index, layer) not in needed or (index, layer) in arrived:
                busy_until = now + current.layer_s
        # Go to the next moment at which something happens.
        moments = [current.not_before_s] if now < current.not_before_s else []
        moments += [busy_until] if busy_until is not None else []
        moments += [loading[0]] if loading is not None else []
        assert moments, "the pipeline is stuck"
        now = min(moments)
        if loading is not None and loading[0] <= now:
            arrived.add((loading[1].number, loading[1].group.layer))
            loading = None
        if busy_until is not None and busy_until <= now:
            busy_until = None
            if layer == layers:
                assert began is not None
                timed.append(Timed(began, now))
                index, layer, began = index + 1, 0, None
            else:
                if (index, layer) in needed:
                    staged -= needed[index, layer].ring_bytes
                layer += 1
    return timed
