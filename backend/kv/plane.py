"""The data plane: two pools, two channels, compute, and the waits between them.

On the CPU the link is emulated. Compute should use one thread there (`torch.set_num_threads(1)`):
with more, every operation waits for the copying threads at its barriers. On CUDA the host pages are
pinned, each direction has a copy stream, and the current stream computes. Run the model on a stream
of higher priority than 0 (`torch.cuda.Stream(priority=-1)`), or the copies go as early as compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from orbitflow.backend.clock import Clock
from orbitflow.backend.kv.pool import HostPool, Notice, PagePool, PageShape, page_copies
from orbitflow.backend.link.channel import (
    DEFAULT_BYTES_PER_S,
    Channel,
    PacedLink,
    TransferSink,
    WorkerChannel,
)
from orbitflow.backend.link.compute import Compute, EagerCompute
from orbitflow.backend.link.cuda import CudaChannel, CudaCompute
from orbitflow.backend.link.events import Event, Wait, Waits


@dataclass(frozen=True, slots=True)
class Plane:
    """Where KV lies and what moves it."""

    device: PagePool
    host: HostPool
    up: Channel  # host to device
    down: Channel
    compute: Compute
    waits: Waits

    @property
    def shape(self) -> PageShape:
        """What a page holds."""
        return self.device.shape

    def fetch(self, pairs: Sequence[tuple[int, int]], stored: Iterable[Event], label: str) -> Event:
        """Copy host pages to the device pages they are paired with: after their stores, and when
        compute is done with the device pages.
        """
        wait_for = [
            *self.waits(Wait.STORED, stored),
            *self.waits(Wait.CONSUMED, self.device.ready([page for _, page in pairs])),
        ]
        copies = page_copies(self.host.storage, self.device.storage, pairs)
        return self.up.submit(copies, wait_for, label)

    def drain(self) -> None:
        """Return when all compute and all copies are done."""
        self.compute.synchronize()
        self.down.drain()
        self.up.drain()
        self.device.book.settle()
        self.host.book.settle()

    def close(self) -> None:
        """End the channels."""
        self.up.close()
        self.down.close()


def cpu_plane(
    shape: PageShape,
    device_pages: int,
    host_pages: int,
    clock: Clock,
    *,
    link_bytes_per_s: float | None = DEFAULT_BYTES_PER_S,
    link_fixed_s: float = 0.0,
    poison: bool = False,
    waits: Waits | None = None,
    compute: Compute | None = None,
    sink: TransferSink | None = None,
    channels: Callable[[str], Channel] | None = None,
) -> Plane:
    """A data plane whose device is the CPU. Raise a UserError if the host pool is too large.

    `channels` makes the channel of a direction, "H2D" or "D2H", instead of the emulated link.
    """
    waits = waits or Waits()
    compute = compute or EagerCompute(clock)

    def paced(name: str) -> Channel:
        link = PacedLink(clock, link_bytes_per_s, link_fixed_s)
        return WorkerChannel(name, link, clock, sink)

    host = HostPool(shape, host_pages, waits, poison=poison)
    device = PagePool(
        shape, device_pages, compute, waits, device=torch.device("cpu"), poison=poison
    )
    channel = channels or paced
    return Plane(device, host, channel("H2D"), channel("D2H"), compute, waits)


def cuda_plane(
    shape: PageShape,
    device_pages: int,
    host_pages: int,
    clock: Clock,
    device: torch.device,
    *,
    poison: bool = False,
    waits: Waits | None = None,
    sink: TransferSink | None = None,
    notice: Notice | None = None,
) -> Plane:
    """A data plane whose device is a GPU. Raise a UserError if the host pool is too large."""
    waits = waits or Waits()
    compute = CudaCompute(device)
    host = HostPool(shape, host_pages, waits, pin=True, poison=poison, notice=notice)
    pool = PagePool(shape, device_pages, compute, waits, device=device, poison=poison)
    pinned = host.storage.is_pinned()
    up = CudaChannel("H2D", device, clock, pinned=pinned, sink=sink)
    down = CudaChannel("D2H", device, clock, pinned=pinned, sink=sink)
    return Plane(pool, host, up, down, compute, waits)
