"""A data plane on a CUDA device: pinned host pages, two copy streams, the current stream computes.

Run the model on a stream of higher priority than 0 (``torch.cuda.Stream(priority=-1)``), or the
copy streams are no lower than compute.
"""

from __future__ import annotations

import torch

from orbitflow.backend.clock import Clock
from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.pool import HostPool, Notice, PagePool, PageShape
from orbitflow.backend.link.channel import TransferSink
from orbitflow.backend.link.cuda import CudaChannel, CudaCompute
from orbitflow.backend.link.events import Waits


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
