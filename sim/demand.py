"""What the passes of a step need from the link: streams of the batch, and prompts behind chunks."""

from __future__ import annotations

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.cost import CostModel
from orbitflow.pipeline import Demand
from orbitflow.step import Step, Stream


def streaming_demand(
    cost: CostModel, step: Step, passes: int
) -> tuple[Demand, FloatArray] | tuple[None, FloatArray]:
    """The demand of the step's next `passes` passes, and the bytes of each, shape (passes,).

    None where nothing is streamed.
    """
    streams = list(step.streams)
    for chunk in step.chunks:
        if chunk.start and chunk.streamed_layers:
            behind = np.array([chunk.start + 1])
            streams.append(Stream(chunk.streamed_layers, chunk.host_layers, behind))
    total = np.zeros(passes)
    if not streams:
        return None, total
    layers = tuple(sorted({layer for stream in streams for layer in stream.layers}))
    column = {layer: index for index, layer in enumerate(layers)}
    link_s, ring = np.zeros((passes, len(layers))), np.zeros((passes, len(layers)))
    for stream in streams:
        seconds, size = cost.stream_s(stream.contexts, passes)
        link_s[:, [column[layer] for layer in stream.layers]] += seconds[:, None]
        staged = [column[layer] for layer in stream.staged if layer in column]
        ring[:, staged] += size[:, None]
        total += size * len(stream.layers)
    return Demand(layers, link_s, ring), total
