"""`static-D`, `dynamic` and `deepspeed`: the uniform policies of the OrbitFlow paper's comparison.

static-D    layer l on the host iff l mod (D + 1) == D, whatever the load
dynamic     the widest stride that fits the actual lengths (the paper's Dynamic Heuristic): all
            resident if that fits, at most every second layer on the host
deepspeed   all layers on the host, each fetched when it is needed, nothing overlapped (the paper's
            emulation of DeepSpeed-Inference; the real ZeRO-Inference attends on the CPU)

Simplified: the published code re-chooses in every step with two blocks of head-room; here a choice
is kept while it is sure to fit. The staging ring is charged to the capacity; the paper adds it.
"""

from __future__ import annotations

from orbitflow.machine.pipeline import Overlap
from orbitflow.placement import RESIDENT, HostLayers, stride, useful_distances
from orbitflow.policy.uniform import UniformPolicy


class StaticStride(UniformPolicy):
    """One stride, always."""

    def __init__(self, distance: int) -> None:
        super().__init__(f"static-{distance}", Overlap.RING, ring_groups=2)
        self.distance = distance

    def choices(self) -> tuple[HostLayers, ...]:
        """The one stride."""
        return (stride(self.limits.layers, self.distance),)


class DeepSpeed(UniformPolicy):
    """Everything on the host, fetched on the critical path; one group is staged at a time."""

    def __init__(self) -> None:
        super().__init__("deepspeed", Overlap.SERIAL, ring_groups=1)

    def choices(self) -> tuple[HostLayers, ...]:
        """All layers."""
        return (stride(self.limits.layers, 0),)


class Dynamic(UniformPolicy):
    """The widest stride that fits."""

    def __init__(self) -> None:
        super().__init__("dynamic", Overlap.RING, ring_groups=2)

    def choices(self) -> tuple[HostLayers, ...]:
        """Nothing on the host, then ever narrower strides."""
        layers = self.limits.layers
        return (RESIDENT, *(stride(layers, d) for d in useful_distances(layers)))
