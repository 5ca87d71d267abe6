"""The data plane's parts in one hand: two pools, two channels, compute, and the waits between them.

`cpu_plane` builds it for the CPU with an emulated link.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from reference.stepped_channel import LinkMode, SteppedChannel

from orbitflow.backend.clock import Clock
from orbitflow.backend.kv.pool import HostPool, PagePool, PageShape
from orbitflow.backend.link.channel import (
    DEFAULT_BYTES_PER_S,
    Channel,
    PacedLink,
    TransferSink,
    WorkerChannel,
)
from orbitflow.backend.link.compute import Compute, EagerCompute
from orbitflow.backend.link.events import Waits


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
    mode: LinkMode = LinkMode.PACED,
    poison: bool = False,
    waits: Waits | None = None,
    compute: Compute | None = None,
    sink: TransferSink | None = None,
) -> Plane:
    """A data plane whose device is the CPU. Raise a UserError if the host pool is too large.

    Compute should use one thread (`torch.set_num_threads(1)`): with more, every operation waits for
    the copying threads at its barriers.
    """
    waits = waits or Waits()
    compute = compute or EagerCompute(clock)

    def channel(name: str) -> Channel:
        if mode is not LinkMode.PACED:
            return SteppedChannel(name, mode)
        link = PacedLink(clock, link_bytes_per_s, link_fixed_s)
        return WorkerChannel(name, link, clock, sink)

    host = HostPool(shape, host_pages, waits, poison=poison)
    device = PagePool(
        shape, device_pages, compute, waits, device=torch.device("cpu"), poison=poison
    )
    return Plane(device, host, channel("H2D"), channel("D2H"), compute, waits)
