"""How long a pass takes when some layers' KV has to come over the link, or is used on the host.

Group g, the host pages of one layer, travels in x_g seconds over one FIFO link; layer l computes in
t_c; t_out is the part outside the layers; X_j is the sum of x over the host layers up to layer j.

serial   T = L t_c + t_out + X_L                 each group is fetched on the critical path
paper    T = L t_c + t_out + max(0, max_j (X_j - (j - 1) t_c))
         unlimited look-ahead within a pass, none beyond it (arXiv 2601.10729)
ring     a load starts when the link is free AND the ring has room; a layer starts when its group
         has arrived and frees the ring segment at its end; loads run on into the next pass, as
         host pages never change. T >= max(L t_c + t_out, X_L), reached with small groups.
barrier  T = L t_c + t_out + max(0, x_0 - t_out) + sum over l >= 1 of (a_l + max(0, x_l - w_l))
         one layer of look-ahead, a barrier after every layer (FlexGen): group l travels while layer
         l - 1 computes, w_l = t_c. Where the CPU first gathers the group, for a_l, it starts when
         layer l - 1 has attended: only the rest of that layer, w_l, hides the transfer (InfiniGen)
batches  T = L h + sum_l max(g, a_l) + t_out (of both) + X_L       L t_c = L (h + g)
         two sub-batches (NEO): h computes the one whose KV is on the host, and while the CPU
         attends for it, a_l, the GPU spends g on the other

The CPU's a_l is 0 where KV is only streamed; `serial` adds the sum of it.
Design section 3.1. The layer-level simulation must agree with all of them.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from math import inf
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.errors import PolicyError
from orbitflow.placement import HostLayers


class Overlap(StrEnum):
    """How a policy's data plane overlaps transfers with compute."""

    SERIAL = "serial"
    PAPER = "paper"
    RING = "ring"
    BARRIER = "barrier"
    BATCHES = "batches"


class Demand(NamedTuple):
    """What the passes of a step need from the link, and from the CPU.

    `layers` in execution order; the arrays have shape (passes, len(layers)). A layer whose
    ring_bytes are 0 while its link_s are not is loaded into pages of its own (a promotion).
    `host_s` is a of the forms: None where the CPU has nothing to do.
    """

    layers: HostLayers
    link_s: FloatArray
    ring_bytes: FloatArray
    host_s: FloatArray | None = None


def serial_stalls(demand: Demand) -> FloatArray:
    """Stall of each pass when every group is fetched on the critical path, shape (passes,)."""
    total: FloatArray = demand.link_s.sum(axis=1)
    return total if demand.host_s is None else total + demand.host_s.sum(axis=1)


def barrier_stalls(
    demand: Demand, layer_s: FloatArray, outside_s: float, beside: FloatArray | None = None
) -> FloatArray:
    """Stall of each pass with one layer of look-ahead.

    `beside` is the share of a layer's time that follows its attention, shape (passes,); it matters
    only where the CPU gathers.
    """
    windows = np.repeat(layer_s[:, None], len(demand.layers), axis=1)
    late = 0.0
    if demand.host_s is not None and beside is not None:
        windows = np.where(demand.host_s > 0, windows * beside[:, None], windows)
        late = demand.host_s.sum(axis=1)
    if demand.layers[0] == 0:
        windows[:, 0] = outside_s
    stalls: FloatArray = np.maximum(0.0, demand.link_s - windows).sum(axis=1) + late
    return stalls


def batches_stalls(
    demand: Demand, layer_s: FloatArray, beside: FloatArray | None = None
) -> FloatArray:
    """Stall of each pass in two sub-batches; `beside` is g's share of a layer's time, of interest
    where the CPU attends.
    """
    stalls: FloatArray = demand.link_s.sum(axis=1)
    if demand.host_s is not None and beside is not None:
        stalls = stalls + np.maximum(0.0, demand.host_s - (layer_s * beside)[:, None]).sum(axis=1)
    return stalls


def paper_stalls(demand: Demand, layer_s: FloatArray) -> FloatArray:
    """Stall of each pass in the paper's form; `layer_s` is t_c of each pass, shape (passes,)."""
    arrived = np.cumsum(demand.link_s, axis=1)
    computed = np.asarray(demand.layers) * layer_s[:, None]  # layer l starts after l layers
    stalls: FloatArray = np.maximum(0.0, (arrived - computed).max(axis=1))
    return stalls


class RingPipeline:
    """The exact recursion of the `ring` form, carried from pass to pass.

    Times are seconds on the caller's clock. `restart` forgets what was prefetched (the batch
    changed).
    """

    __slots__ = ("_capacity", "_free_at", "_link_free", "_segments", "_used")

    def __init__(self) -> None:
        self._segments: deque[tuple[float, float]] = deque()  # (bytes, when freed), oldest first
        self.restart(0.0, 0.0)

    def restart(self, now_s: float, ring_bytes: float) -> None:
        """Begin with an empty ring of `ring_bytes` and an idle link."""
        self._segments.clear()
        self._used = 0.0
        self._free_at = now_s
        self._link_free = now_s
        self._capacity = ring_bytes

    @property
    def ring_bytes(self) -> float:
        """Size of the ring."""
        return self._capacity

    def copy(self) -> RingPipeline:
        """A pipeline in the same state, to try something on."""
        other = RingPipeline()
        other._segments = self._segments.copy()
        other._used, other._capacity = self._used, self._capacity
        other._free_at, other._link_free = self._free_at, self._link_free
        return other

    def stalls(
        self,
        demand: Demand,
        layer_s: FloatArray,
        pass_s: FloatArray,
        start_s: float,
        stop_at_s: float = inf,
    ) -> FloatArray:
        """Stall of each pass up to the first that ends at or after `stop_at_s`, shape (done,).

        `layer_s` is t_c and `pass_s` the whole compute time of each pass (t_out included), both of
        shape (passes,). Raise a PolicyError if one group alone is larger than the ring.
        """
        if demand.ring_bytes.size and float(demand.ring_bytes.max()) > self._capacity:
            raise PolicyError(
                f"a group of {demand.ring_bytes.max():.0f} bytes exceeds the ring of "
                f"{self._capacity:.0f} bytes: it could never be staged"
            )
        stalls: list[float] = []
        now = start_s
        rows = zip(
            demand.link_s.tolist(),
            demand.ring_bytes.tolist(),
            layer_s.tolist(),
            pass_s.tolist(),
            strict=True,
        )
        for link_s, ring_bytes, t_c, compute in rows:
            stall = self._one_pass(demand.layers, link_s, ring_bytes, t_c, now)
            stalls.append(stall)
            now += compute + stall
            if now >= stop_at_s:
                break
        return np.array(stalls)

    def _one_pass(
        self,
        layers: HostLayers,
        link_s: list[float],
        ring_bytes: list[float],
        t_c: float,
        start_s: float,
    ) -> float:
        segments, capacity = self._segments, self._capacity
        used, free_at, link_free = self._used, self._free_at, self._link_free
        stall = 0.0
        for layer, seconds, size in zip(layers, link_s, ring_bytes, strict=True):
            used += size
            while used > capacity:
                freed, at = segments.popleft()
                used -= freed
                if at > free_at:
                    free_at = at
            begin = free_at if free_at > link_free else link_free
            link_free = begin + seconds
            ready = start_s + layer * t_c + stall
            if link_free > ready:
                stall += link_free - ready
                ready = link_free
            if size:
                segments.append((size, ready + t_c))
        self._used, self._free_at, self._link_free = used, free_at, link_free
        return stall
