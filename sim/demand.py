"""What the passes of a step need from the link and from the CPU: streams of the batch, and prompts
behind chunks.

What is being promoted and the KV behind a chunk always crosses the link whole; what else lies on
the host is used as `orbitflow.machine.pipeline` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import STREAM, HostRead, TransferDemand
from orbitflow.placement import HostLayers
from orbitflow.step import Step


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
