"""Copies through the plane's own channels: bursts to be timed, and a link that never rests.

    seconds per run = wall time of a burst / runs in it,   a run being k pages side by side

A burst is long enough that starting the first transfer does not count; what each transfer costs in
threads and queues does, as it does when serving.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import NamedTuple

import torch

from orbitflow.backend.clock import Clock
from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.link.channel import Channel, Copy
from orbitflow.backend.link.events import Event

H2D, D2H = "h2d", "d2h"
RUNS_PER_TRANSFER = 4  # about what a group of a small batch has
_FEEDER_RUN_PAGES = 256
_LEAST_TRANSFERS = 3
_MOST_TRANSFERS = 2000


class Burst(NamedTuple):
    """Back-to-back transfers of equal runs."""

    runs: int
    run_bytes: int
    seconds: float


class LinkBench:
    """Both directions of a plane whose pages nobody uses. All pages of its pools may be written."""

    def __init__(self, plane: Plane, clock: Clock) -> None:
        self._plane = plane
        self._clock = clock
        self._device = plane.device.storage
        self._host = plane.host.storage

    @property
    def longest_run(self) -> int:
        """Pages of the longest run that both pools take beside another."""
        return min(len(self._device), len(self._host)) // RUNS_PER_TRANSFER

    def burst(self, direction: str, run_pages: int, least_s: float) -> Burst:
        """Time copies of so many pages for about `least_s` seconds; the first try says how many."""
        first = self._burst(direction, run_pages, _LEAST_TRANSFERS)
        per_transfer_s = first.seconds / _LEAST_TRANSFERS
        transfers = int(min(least_s / max(per_transfer_s, 1e-9), _MOST_TRANSFERS))
        return (
            first if transfers <= _LEAST_TRANSFERS else self._burst(direction, run_pages, transfers)
        )

    def both_ways(self, run_pages: int, least_s: float) -> tuple[Burst, Burst]:
        """Time h2d while d2h is busy, then d2h while h2d is."""
        return self._beside(H2D, run_pages, least_s), self._beside(D2H, run_pages, least_s)

    def _beside(self, direction: str, run_pages: int, least_s: float) -> Burst:
        other = D2H if direction == H2D else H2D
        alone = self._burst(other, run_pages, _LEAST_TRANSFERS).seconds / _LEAST_TRANSFERS
        for _ in range(int(min(2 * least_s / max(alone, 1e-9), _MOST_TRANSFERS)) + 1):
            self._submit(other, run_pages)
        burst = self.burst(direction, run_pages, least_s / 2)
        self._channel(other).drain()
        return burst

    def _burst(self, direction: str, run_pages: int, transfers: int) -> Burst:
        channel = self._channel(direction)
        channel.drain()
        began_s = self._clock.now_s()
        last = [self._submit(direction, run_pages) for _ in range(transfers)][-1]
        last.wait()
        seconds = self._clock.now_s() - began_s
        channel.take_use()
        runs = transfers * RUNS_PER_TRANSFER
        return Burst(runs, run_pages * self._plane.shape.page_bytes, seconds)

    def _submit(self, direction: str, run_pages: int) -> Event:
        copies = []
        for run in range(RUNS_PER_TRANSFER):
            pages = slice(run * run_pages, (run + 1) * run_pages)
            here, there = self._host[pages], self._device[pages]
            copies.append(Copy(here, there) if direction == H2D else Copy(there, here))
        return self._channel(direction).submit(copies, (), "calibration")

    def _channel(self, direction: str) -> Channel:
        return self._plane.up if direction == H2D else self._plane.down


class Feeder:
    """Keeps the link to the device busy beside passes; it writes to memory of its own only."""

    def __init__(self, plane: Plane, clock: Clock) -> None:
        self._plane = plane
        pages = min(_FEEDER_RUN_PAGES, len(plane.host.storage), len(plane.device.storage))
        self._source = plane.host.storage[:pages]
        self._target = torch.empty_like(plane.device.storage[:pages])
        self._under_way: deque[Event] = deque()
        began_s = clock.now_s()
        self._fill(_LEAST_TRANSFERS)
        self.drain()
        self._transfer_s = (clock.now_s() - began_s) / _LEAST_TRANSFERS

    def feed(self, seconds: float) -> None:
        """Have about so many seconds of transfers queued or under way."""
        self._fill(2 + ceil(seconds / self._transfer_s))

    def drain(self) -> None:
        """Let what is queued end."""
        self._plane.up.drain()
        self._plane.up.take_use()

    def _fill(self, ahead: int) -> None:
        while self._under_way and self._under_way[0].is_done:
            self._under_way.popleft()
        while len(self._under_way) < ahead:
            copy = Copy(self._source, self._target)
            self._under_way.append(self._plane.up.submit((copy,), (), "calibration"))
