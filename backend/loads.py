"""Background loads: KV of a parked request comes to the device while the link has nothing better.

Page by page, and only onto an idle link, so that streaming waits for one page at most. A load that
is still under way when its request decodes again is finished first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from orbitflow.backend.kv.layers import LayerKv, RequestKv

from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.pool import page_copies
from orbitflow.backend.link.events import Event, Wait, pending
from orbitflow.step import Move


@dataclass(slots=True)
class _Load:
    move: Move
    layers: list[LayerKv]
    todo: list[tuple[LayerKv, int]]  # page index
    sent: list[Event] = field(default_factory=list)


class Loads:
    """Loads asked for and not done, oldest first. `sent_bytes` counts what they move."""

    def __init__(self, plane: Plane, landed: Callable[[LayerKv], object]) -> None:
        self._plane = plane
        self._landed = landed
        self._loads: list[_Load] = []
        self.sent_bytes = 0

    def ask(self, move: Move, request: RequestKv) -> None:
        """Reserve pages and queue the load."""
        layers = [request.layers[layer] for layer in move.layers]
        for kv in layers:
            kv.arriving = self._plane.device.book.take(kv.full, kv.owner)
        todo = [(kv, index) for kv in layers for index in range(kv.full)]
        self._loads.append(_Load(move, layers, todo))

    def advance(self) -> None:
        """Send the next page if the link is idle."""
        load = next((load for load in self._loads if load.todo), None)
        if load is not None and self._plane.up.is_idle:
            self._send(load, 1)

    def take_done(self) -> list[int]:
        """Let KV be where finished loads brought it; return the moves."""
        done = []
        for load in list(self._loads):
            load.sent = list(pending(load.sent))
            if not (load.todo or load.sent):
                done.append(self._finish(load))
        return done

    def finish(self) -> list[int]:
        """Wait for the oldest load; return the moves that are done by it."""
        return [self._complete(self._loads[0])] if self._loads else []

    def finish_for(self, request_id: int) -> list[int]:
        """Wait for the loads of a request that decodes again."""
        mine = [load for load in self._loads if load.move.request_id == request_id]
        return [self._complete(load) for load in mine]

    def cancel(self, request_id: int) -> list[int]:
        """Forget the loads of a request; what is on its way still lands in its pages."""
        mine = [load for load in self._loads if load.move.request_id == request_id]
        self._loads = [load for load in self._loads if load not in mine]
        return [load.move.id for load in mine]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be loaded."""
        return not self._loads

    def _complete(self, load: _Load) -> int:
        self._send(load, len(load.todo))
        for event in load.sent:
            event.wait()
        return self._finish(load)

    def _finish(self, load: _Load) -> int:
        self._loads.remove(load)
        for kv in load.layers:
            self._landed(kv)
        return load.move.id

    def _send(self, load: _Load, pages: int) -> None:
        plane = self._plane
        now, load.todo = load.todo[:pages], load.todo[pages:]
        for kv in load.layers:
            pairs = [
                (kv.slots[index], kv.arriving[index])
                for owner, index in now
                if owner is kv and kv.arriving is not None
            ]
            if not pairs:
                continue
            wait_for = [
                *plane.waits(Wait.STORED, kv.storing),
                *plane.waits(Wait.CONSUMED, plane.device.ready([own for _, own in pairs])),
            ]
            copies = page_copies(plane.host.storage, plane.device.storage, pairs)
            event = plane.up.submit(copies, wait_for, f"load {kv.request_id}")
            kv.note_read(event)
            kv.arrived = event
            load.sent.append(event)
            self.sent_bytes += len(pairs) * plane.shape.page_bytes
