"""What the GPU computes in the passes of a step, and which part of it runs beside the CPU's work.

one batch      base + request n + token c + chunks     c: context that the GPU itself reads
two batches    (base + request n_h) + the above for everybody else, where there is somebody else

n_h requests have their KV on the host and the CPU attends for them. `orbitflow.machine.pipeline` says
what the GPU reads of host KV. Simplified: what it reads is spread evenly over the layers; the tail page,
which never leaves the GPU, is not counted as read there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.engine.policy import DataPlane
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.step import Step

_SHORTEST_S = 1e-30


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
        return GpuWork(total_s, cost.decode.outside_s, None)
    spared, spared_growth, attended_for = _spared(cost, plane, step)
    read, read_growth = context - spared, growth - spared_growth
    if plane.overlap is not Overlap.BATCHES:
        total_s = _pass_s(cost, step, requests, read, read_growth, passes, first)
        context_read = read + read_growth * np.arange(first, first + passes, dtype=np.float64)
        attends_s: FloatArray = cost.decode.token_s * context_read
        beside = 1 - _share(attends_s, total_s - cost.decode.outside_s)
        return GpuWork(total_s, cost.decode.outside_s, beside)
    others = requests - attended_for
    if not attended_for or not (others or step.chunks):
        total_s = _pass_s(cost, step, requests, read, read_growth, passes, first)
        return GpuWork(total_s, cost.decode.outside_s, np.zeros(passes))
    hosted_s = cost.decode_pass_s(attended_for, 0)
    other_s = _pass_s(cost, step, others, read, read_growth, passes, first)
    other_outside_s = min(cost.decode.outside_s, float(other_s[0]))
    outside_s = cost.decode.outside_s + other_outside_s
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
    grown = later * (cost.decode.token_s * growth)
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
