"""Batches that decode through the real executor, their KV in place from the start; no serving core.

For `backend_speed`: KV is random, written as a prefill would write it, and steps are made by hand,
so that nothing but the backend is measured.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from orbitflow.backend.clock import WallClock
from orbitflow.backend.executor import TorchExecutor
from orbitflow.backend.kv.store import KvStore
from orbitflow.backend.link.channel import WorkerChannel
from orbitflow.backend.machine import BackendMachine
from orbitflow.backend.model.decoder import Decoder
from orbitflow.engine.policy import DataPlane
from orbitflow.engine.queues import Queues
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvAccount, KvLimits
from orbitflow.placement import HostLayers
from orbitflow.request import Request
from orbitflow.step import PrefillChunk, Step

LONGEST_RUN = 1 << 30  # tokens: no request ends


class Passes(NamedTuple):
    """Means over the passes of a step."""

    pass_s: float
    stall_s: float
    cpu_s: float  # of the thread that computes, or launches
    link_bytes: float
    link_share: float | None  # of the time that transfers took, what they take at the link's rate


class Batch:
    """Requests whose KV is in place: `host[i]` are the layers that request i has on the host."""

    def __init__(
        self,
        machine: BackendMachine,
        decoder: Decoder,
        contexts: tuple[int, ...],
        passes: int,
        host: tuple[HostLayers, ...] | None = None,
    ) -> None:
        self.contexts, self._layers = contexts, decoder.layers
        self._host = host or ((),) * len(contexts)
        self._most = [tokens + passes for tokens in contexts]
        self._clock, self._carried = WallClock(), [0.0, 0.0]
        shape = machine.shape(decoder)
        pages = [-(-tokens // shape.page_tokens) for tokens in self._most]
        groups = [
            sum(n for n, on_host in zip(pages, self._host, strict=True) if layer in on_host)
            for layer in range(self._layers)
        ]
        self._ring = 2 * max(groups)
        # A layer on the host takes a tail page of each request, and another while it is stored.
        total, tails = self._layers * sum(pages), 2 * self._layers * len(pages)
        device_pages = total - sum(groups) + tails + self._ring
        host_pages = total if host else 0
        plane = machine.plane(shape, device_pages, host_pages, self._clock, sink=self._note)
        data_plane = DataPlane(Overlap.RING, write_through=host is not None, ring_groups=2)
        self.plane, self._store = plane, KvStore(plane, self._layers, data_plane)
        account = KvAccount(KvLimits(self._layers, shape.page_tokens, device_pages))
        account.set_window(device_pages, 0)
        account.charge(0, 0, host_pages)
        requests = {i: Request(i, 0.0, n, LONGEST_RUN) for i, n in enumerate(contexts)}
        self.executor = TorchExecutor(
            decoder, plane, self._store, self._clock, requests, lambda request: [],
            data_plane=data_plane, account=account, roster=Queues(None, 0),
        )  # fmt: skip
        self._fill(decoder)

    def decode(self, passes: int) -> Passes:
        """Make passes; the one more at the beginning is not measured."""
        self._carried = [0.0, 0.0]
        began_s = time.thread_time()
        outcome = self.executor.execute(self._step(passes + 1), self._clock.now_s())
        spent_s = time.thread_time() - began_s
        assert outcome.pass_stall_s is not None
        nominal_s, real_s = self._carried
        return Passes(
            float(np.diff(outcome.pass_end_s).mean()),
            float(outcome.pass_stall_s[1:].mean()),
            spent_s / (passes + 1),
            outcome.h2d_bytes / (passes + 1),
            nominal_s / real_s if real_s else None,
        )

    def close(self) -> None:
        """End it. The KV goes with the object."""
        self.executor.close()

    def _note(self, label: str, start_s: float, end_s: float) -> None:
        """Hear of a transfer: an emulated link tells when it should have ended, and ends now."""
        if label.startswith("H2D") and isinstance(self.plane.up, WorkerChannel):
            self._carried[0] += end_s - start_s
            self._carried[1] += max(end_s, self._clock.now_s()) - start_s

    def _step(self, passes: int, chunk: PrefillChunk | None = None) -> Step:
        ids, ring = tuple(range(len(self.contexts))), self._ring
        chunks = () if chunk is None else (chunk,)
        if chunk is not None:
            ids, ring = (), 0
        version = -1 - chunk.request_id if chunk else 1
        return Step(0, chunks, ids, 0, None, (), ring, (), passes, version, False)

    def _fill(self, decoder: Decoder) -> None:
        """Write random K and V as a prefill would."""
        dice = torch.Generator(decoder.device).manual_seed(0)
        sizes = (decoder.kv_heads, decoder.head_dim)
        for number, (tokens, host) in enumerate(zip(self.contexts, self._host, strict=True)):
            self._store.admit(number, self._most[number], host)
            chunk = PrefillChunk(number, 0, tokens, True, host, ())
            self._store.begin_step(self._step(1, chunk))
            for layer in range(self._layers):
                self._store.begin_layer(layer)
                k, v = torch.empty(
                    (2, tokens, *sizes), dtype=decoder.dtype, device=decoder.device
                ).normal_(generator=dice)
                self._store.extend(number, layer, k, v)
                self._store.end_layer(layer)
            self._store.end_pass()
            self.executor.tokens[number] = [1] * tokens
        self._store.drain()


def seconds(machine: BackendMachine, work: Callable[[], object], repeat: int = 7) -> float:
    """Time that some work takes on the device: the least of several tries."""
    times = []
    for _ in range(repeat):
        if machine.is_cpu:
            began_s = time.perf_counter()
            work()
            times.append(time.perf_counter() - began_s)
        else:
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            work()
            ended.record()
            ended.synchronize()
            times.append(began.elapsed_time(ended) / 1000)
    return min(times)


def forget() -> None:
    """Have the memory of batches back that nobody refers to any more."""
    gc.collect()
    torch.cuda.empty_cache()


@contextmanager
def compute_stream(machine: BackendMachine) -> Iterator[None]:
    """Compute on a stream that goes before those of copies, where there are streams."""
    if machine.is_cpu:
        yield
        return
    stream = torch.cuda.Stream(machine.device, priority=-1)
    with torch.cuda.device(machine.device), torch.cuda.stream(stream):
        yield
