"""What the passes of a step need: seconds of the GPU, the link and the CPU; noise on compute.

GPU, one batch     base + request n + token c + chunks     c: context that the GPU itself reads
GPU, two batches   (base + request n_h) + the above for the other requests, where there are any
noise              pass k of a run takes factor_k, uniform on [1 - spread, 1 + spread]

n_h requests have their KV on the host, and the CPU attends for them. KV that is being promoted and
the KV behind a chunk cross the link whole. `orbitflow.machine.pipeline` says how other KV on the
host is used. Simplified: what the GPU reads of it is spread evenly over the layers. The tail page
never leaves the GPU and is not counted as read there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.engine.policy import DataPlane
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import STREAM, HostRead, Overlap, TransferDemand
from orbitflow.placement import HostLayers
from orbitflow.step import Step

_SHORTEST_S = 1e-30
_NOISE_FACTORS = 1 << 16  # they repeat after so many passes
_NOISE_STREAM = 0x6E6F697365  # of the seed: arrivals are drawn from another


class GpuWork(NamedTuple):
    """Compute of some passes, arrays of shape (passes,)."""

    total_s: FloatArray
    outside_s: float  # of each pass: the part outside the layers
    beside: FloatArray | None  # share of a layer that runs beside the CPU's work; None: nobody asks

    def slowed(self, by: FloatArray) -> GpuWork:
        """The same work, each pass `by` times as long."""
        return self._replace(total_s=self.total_s * by)

    def layer_s(self, layers: int) -> FloatArray:
        """Time of one layer in each pass."""
        seconds: FloatArray = np.maximum(0.0, self.total_s - self.outside_s) / layers
        return seconds


def gpu_work(cost: CostModel, plane: DataPlane, step: Step, passes: int, first: int = 0) -> GpuWork:
    """The work of `passes` passes from the step's pass number `first` on."""
    requests, growth, context = len(step.decode_ids), len(step.decode_ids), step.context_tokens
    if not plane.host_read.needs_host:
        total_s = _pass_s(cost, step, requests, context, growth, passes, first)
        return GpuWork(total_s, cost.outside_s, None)
    spared, spared_growth, attended_for = _spared(cost, plane, step)
    read, read_growth = context - spared, growth - spared_growth
    if plane.overlap is not Overlap.BATCHES:
        total_s = _pass_s(cost, step, requests, read, read_growth, passes, first)
        context_read = read + read_growth * np.arange(first, first + passes, dtype=np.float64)
        attends_s: FloatArray = cost.context_s * context_read
        beside = 1 - _share(attends_s, total_s - cost.outside_s)
        return GpuWork(total_s, cost.outside_s, beside)
    others = requests - attended_for
    if not attended_for or not (others or step.chunks):
        total_s = _pass_s(cost, step, requests, read, read_growth, passes, first)
        return GpuWork(total_s, cost.outside_s, np.zeros(passes))
    hosted_s = cost.decode_pass_s(attended_for, 0)
    other_s = _pass_s(cost, step, others, read, read_growth, passes, first)
    other_outside_s = min(cost.outside_s, float(other_s[0]))
    outside_s = cost.outside_s + other_outside_s
    total_s = hosted_s + other_s
    beside = _share(other_s - other_outside_s, total_s - outside_s)
    return GpuWork(total_s, outside_s, beside)


def _share(part_s: FloatArray, whole_s: FloatArray) -> FloatArray:
    share: FloatArray = np.minimum(1.0, part_s / np.maximum(whole_s, _SHORTEST_S))
    return share


def _pass_s(
    cost: CostModel,
    step: Step,
    requests: int,
    context: float,
    growth: float,
    passes: int,
    first: int,
) -> FloatArray:
    """Compute of one batch, whose context grows by `growth` a pass."""
    if step.chunks:
        return np.array([cost.mixed_pass_s(step.chunks, requests, context)])
    later = np.arange(first, first + passes, dtype=np.float64)
    grown = later * (cost.context_s * growth)
    seconds: FloatArray = cost.decode_pass_s(requests, context) + grown
    return seconds


def _spared(cost: CostModel, plane: DataPlane, step: Step) -> tuple[float, float, int]:
    """Context that the GPU does not read in the first pass, its growth, requests on the host."""
    read, spared, growth, hosted = plane.host_read, 0.0, 0.0, 0
    for stream in step.streams:
        share = read.spared_share * len(read.worked_on(stream.staged)) / cost.layers
        spared += share * int(stream.contexts.sum())
        growth += share * len(stream.contexts)
        hosted += len(stream.contexts) if stream.staged else 0
    return spared, growth, hosted


class _Transfer(NamedTuple):
    """Layers of some requests that cross the link, a share of their tokens."""

    layers: HostLayers
    staged: HostLayers
    contexts: IntArray
    share: float = 1.0


def streaming_demand(
    cost: CostModel, step: Step, passes: int, read: HostRead = STREAM
) -> tuple[TransferDemand, FloatArray] | tuple[None, FloatArray]:
    """The demand of the step's next `passes` passes, and the bytes of each, shape (passes,).

    None where no KV is on the host.
    """
    transfers = list(_transfers(step, read))
    total = np.zeros(passes)
    used: set[int] = set()
    for transfer in transfers:
        used.update(transfer.layers)
    if read.attends:
        used.update(layer for stream in step.streams for layer in stream.staged)
    if not used:
        return None, total
    layers = tuple(sorted(used))
    column = {layer: index for index, layer in enumerate(layers)}
    link_s, ring = np.zeros((passes, len(layers))), np.zeros((passes, len(layers)))
    for transfer in transfers:
        seconds, size = cost.stream_s(transfer.contexts, passes, transfer.share)
        link_s[:, [column[layer] for layer in transfer.layers]] += seconds[:, None]
        staged = [column[layer] for layer in transfer.staged if layer in column]
        ring[:, staged] += size[:, None]
        total += size * len(transfer.layers)
    return TransferDemand(layers, link_s, ring, _host_s(cost, step, passes, read, layers)), total


def _transfers(step: Step, read: HostRead) -> Iterator[_Transfer]:
    for layers, staged, contexts in step.streams:
        worked_on = read.worked_on(staged) if read.needs_host else ()
        if not worked_on:
            yield _Transfer(layers, staged, contexts)
            continue
        whole = tuple(x for x in layers if x not in worked_on)
        if whole:
            yield _Transfer(whole, tuple(x for x in staged if x not in worked_on), contexts)
        if read.selects:
            yield _Transfer(worked_on, worked_on, contexts, read.fetched_share)
    for chunk in step.chunks:
        if chunk.start and chunk.streamed_layers:
            behind = np.array([chunk.start + 1])
            yield _Transfer(chunk.streamed_layers, chunk.host_layers, behind)


def _host_s(
    cost: CostModel, step: Step, passes: int, read: HostRead, layers: HostLayers
) -> FloatArray | None:
    """CPU seconds by pass and layer: attention where it attends, else gathers."""
    if not read.needs_host:
        return None
    kv_bytes, requests = np.zeros((passes, len(layers))), np.zeros(len(layers), dtype=np.int64)
    share = 1.0 if read.attends else read.fetched_share
    for stream in step.streams:
        columns = [layers.index(layer) for layer in read.worked_on(stream.staged)]
        kv_bytes[:, columns] += cost.stream_bytes(stream.contexts, passes, share)[:, None]
        requests[columns] += len(stream.contexts)
    if read.selects:
        return cost.host_gather_s(kv_bytes)
    return np.stack(
        [cost.host_attention_s(kv_bytes[:, i], n) for i, n in enumerate(requests.tolist())], axis=1
    )


class Noise:
    """Factors on the compute time of passes. They belong to pass numbers, so a step that ends early
    draws nothing anew. Equal seeds give equal factors.
    """

    def __init__(self, spread: float, seed: int) -> None:
        draw = Generator(PCG64(SeedSequence([seed, _NOISE_STREAM])))
        self._factors: FloatArray = draw.uniform(1 - spread, 1 + spread, _NOISE_FACTORS)

    def factors(self, first_pass: int, passes: int) -> FloatArray:
        """Factors of these passes, shape (passes,)."""
        return self._factors.take(np.arange(first_pass, first_pass + passes), mode="wrap")
