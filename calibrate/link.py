"""The link to be measured: each way alone, both at once, and decode beside a busy link.

    h2d, d2h                   (bytes of a run)              seconds per run
    h2d beside d2h, ...        (bytes of a run)              the same with the other way busy
    idle link, busy link       (requests, context tokens)    seconds per decode pass

A run is k pages side by side; its seconds are the wall time of a burst over the runs in it. Bursts
go through the plane's own channels and are long enough that starting the first transfer does not
count. What each transfer costs in threads and queues counts, as it does when serving.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from math import ceil
from typing import NamedTuple

import numpy as np
import torch

from orbitflow.backend.clock import Clock
from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.link.channel import Channel, Copy
from orbitflow.backend.link.events import Event
from orbitflow.calibrate.bench import Bench
from orbitflow.calibrate.compute_tasks import decode_grid, middle, typical_s
from orbitflow.calibrate.runner import MeasureTask, Sample
from orbitflow.calibrate.sweep import Sweep

H2D, D2H = "h2d", "d2h"
RUNS_PER_TRANSFER = 4  # about what a group of a small batch has
_BUSY_RUN_PAGES = 256
_LEAST_TRANSFERS = 3
_MOST_TRANSFERS = 2000
IDLE_LINK, BUSY_LINK = "idle link", "busy link"
BESIDE = {H2D: "h2d beside d2h", D2H: "d2h beside h2d"}
_TURNS = 2


class Burst(NamedTuple):
    """Back-to-back transfers of equal runs."""

    runs: int
    run_bytes: int
    seconds: float


class LinkBench:
    """Both directions of a plane without requests. All pages of its pools are overwritten."""

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
        """Time copies of `run_pages` pages for about `least_s` s. A first try says how many."""
        first = self._burst(direction, run_pages, _LEAST_TRANSFERS)
        per_transfer_s = first.seconds / _LEAST_TRANSFERS
        transfers = int(min(least_s / max(per_transfer_s, 1e-9), _MOST_TRANSFERS))
        return (
            first if transfers <= _LEAST_TRANSFERS else self._burst(direction, run_pages, transfers)
        )

    def both_ways(self, run_pages: int, least_s: float) -> tuple[Burst, Burst]:
        """Time h2d while d2h is busy, then d2h while h2d is busy."""
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


class BusyLink:
    """Keeps the link to the device busy beside passes. It writes to memory of its own only."""

    def __init__(self, plane: Plane, clock: Clock) -> None:
        self._plane = plane
        pages = min(_BUSY_RUN_PAGES, len(plane.host.storage), len(plane.device.storage))
        self._source = plane.host.storage[:pages]
        self._target = torch.empty_like(plane.device.storage[:pages])
        self._under_way: deque[Event] = deque()
        began_s = clock.now_s()
        self._submit(_LEAST_TRANSFERS)
        self.drain()
        self._transfer_s = (clock.now_s() - began_s) / _LEAST_TRANSFERS

    def fill(self, seconds: float) -> None:
        """Have about `seconds` of transfers queued or in flight."""
        self._submit(2 + ceil(seconds / self._transfer_s))

    def drain(self) -> None:
        """Wait for all transfers."""
        self._plane.up.drain()
        self._plane.up.take_use()

    def _submit(self, ahead: int) -> None:
        while self._under_way and self._under_way[0].is_done:
            self._under_way.popleft()
        while len(self._under_way) < ahead:
            copy = Copy(self._source, self._target)
            self._under_way.append(self._plane.up.submit((copy,), (), "calibration"))


def link_tasks(bench: Bench, sweep: Sweep) -> Iterator[MeasureTask]:
    """Every size of run each way, and the largest one both ways at once."""
    link = LinkBench(bench.plane, bench.clock)
    runs = sorted({run for run in sweep.runs if run <= link.longest_run} or {1})
    for direction in (H2D, D2H):
        for run in runs:
            label = f"{direction} in runs of {run} pages"
            yield MeasureTask(
                direction, run, label, partial(_alone, link, direction, run, sweep.link_s)
            )
    yield MeasureTask("both ways", runs[-1], "both ways at once", partial(_both, link, runs, sweep))


def slowdown_tasks(bench: Bench, sweep: Sweep) -> Iterator[MeasureTask]:
    """A few batches from small to large, each beside an idle and beside a busy link."""
    busy_link = BusyLink(bench.plane, bench.clock)
    grid = sorted(decode_grid(bench, sweep), key=lambda batch: batch[0] * batch[1])
    parts = sweep.besides + 1
    picked = sorted({grid[len(grid) * part // parts] for part in range(1, parts)}) if grid else []
    for requests, context in picked:
        yield MeasureTask(
            BUSY_LINK,
            requests * context,
            f"decode of {requests} x {context} tokens beside a busy link",
            partial(_beside_link, bench, busy_link, sweep, requests, context),
        )


def _alone(link: LinkBench, direction: str, run: int, least_s: float) -> Sequence[Sample]:
    return [_sample(direction, link.burst(direction, run, least_s))]


def _both(link: LinkBench, runs: Sequence[int], sweep: Sweep) -> Sequence[Sample]:
    up, down = link.both_ways(runs[-1], sweep.link_s)
    return [_sample(BESIDE[H2D], up), _sample(BESIDE[D2H], down)]


def _sample(curve: str, burst: Burst) -> Sample:
    return Sample(curve, (float(burst.run_bytes),), burst.seconds / burst.runs)


def _beside_link(
    bench: Bench, busy_link: BusyLink, sweep: Sweep, requests: int, context: int
) -> Sequence[Sample]:
    """Idle and busy by turns, so that a machine that drifts treats both alike."""
    contexts, varied = [context] * requests, middle(requests, context, sweep.passes)
    idle_s: list[float] = []
    busy_s: list[float] = []
    for _ in range(_TURNS):
        idle = bench.decode(contexts, sweep.passes, most_s=sweep.decode_s)
        idle_s.append(typical_s(idle.pass_s.tolist()))
        ahead_s = 2 * idle_s[-1]
        try:
            busy = bench.decode(
                contexts,
                sweep.passes,
                most_s=sweep.decode_s,
                between=partial(busy_link.fill, ahead_s),
            )
        finally:
            busy_link.drain()
        busy_s.append(typical_s(busy.pass_s.tolist()))
    ratio = float(np.median(np.array(busy_s) / np.array(idle_s)))
    alone_s = float(np.median(idle_s))
    return [Sample(IDLE_LINK, varied, alone_s), Sample(BUSY_LINK, varied, alone_s * ratio)]
