"""Uniform policies with one fixed choice, and `dynamic`: no state, no look at the SLO.

static-D         layer l on the host iff l mod (D + 1) == D, whatever the load
dynamic          the widest stride that fits the actual lengths (the OrbitFlow paper's Dynamic
                 Heuristic): all resident if that fits, at most every second layer on the host
deepspeed        all layers on the host, each fetched when it is needed, nothing overlapped (the
                 paper's emulation of DeepSpeed-Inference; the real ZeRO-Inference attends on the
                 CPU)
zero-inference   all layers on the host, and the CPU attends to them (DeepSpeed ZeRO-Inference):
                 T = base + request n + L (KV of a layer / host attention rate + q down + o up)
infinigen        all layers on the host, and of each only the tokens that seem to matter are
                 fetched (lossy)

`infinigen`: while layer l - 1 runs, a tenth of the KV (part of each key) that stays on the GPU
tells which tokens layer l will look at. The CPU gathers 20 % of the context for the link:

    T = L t_c + t_out + max(0, x_0 - t_out) + max(0, x_1 - t_c)
      + sum over l >= 2 of (gather_l + max(0, x_l - rest of t_c after attention))

Layers 0 and 1 are fetched whole. t_c counts attention over what is fetched and over the kept keys.
Sources: arXiv 2601.10729; the zero_inference example of DeepSpeedExamples; InfiniGen (OSDI 2024).

Simplified, all: the staging ring is charged to the capacity; the paper adds it. `dynamic`: the
published code chooses in every step with two blocks of head-room; here a choice is kept while it is
sure to fit. `zero-inference`: weights stay on the GPU (the example streams them too); host memory
grows by the page instead of being allocated for the longest context; the tail page lies on the GPU;
the KV behind a chunk of a prompt comes back over the link layer by layer, into the workspace.
`infinigen`: always the cap of 20 % of the tokens, which the published scripts set, where the real
system takes fewer if few stand out; the kept keys are charged for all layers; what the loss does to
the answers is not modelled, so its times are those of a different result.
"""

from __future__ import annotations

from functools import cache

from orbitflow.machine.pipeline import ATTEND, STREAM, HostRead, Overlap
from orbitflow.placement import RESIDENT, HostLayers, stride, useful_distances
from orbitflow.policy.uniform import UniformPolicy

SELECT = HostRead(fetched_share=0.2, kept_share=0.1, whole_layers=2)


class StaticStride(UniformPolicy):
    """One stride, always."""

    def __init__(self, distance: int) -> None:
        super().__init__(f"static-{distance}", Overlap.RING, ring_groups=2)
        self.distance = distance

    def choices(self) -> tuple[HostLayers, ...]:
        """The one stride."""
        return (stride(self.limits.layers, self.distance),)


class Dynamic(UniformPolicy):
    """The widest stride that fits."""

    def __init__(self) -> None:
        super().__init__("dynamic", Overlap.RING, ring_groups=2)

    def choices(self) -> tuple[HostLayers, ...]:
        """Nothing on the host, then ever narrower strides."""
        return _widest_first(self.limits.layers)


@cache
def _widest_first(layers: int) -> tuple[HostLayers, ...]:
    return (RESIDENT, *(stride(layers, d) for d in useful_distances(layers)))


class AllOnHost(UniformPolicy):
    """Every layer on the host; what differs is how it is read."""

    def choices(self) -> tuple[HostLayers, ...]:
        """All layers."""
        return (stride(self.limits.layers, 0),)


def deepspeed() -> AllOnHost:
    """Fetched on the critical path; one group is staged at a time."""
    return AllOnHost("deepspeed", Overlap.SERIAL, ring_groups=1, host_read=STREAM)


def zero_inference() -> AllOnHost:
    """Attended to by the CPU."""
    return AllOnHost("zero-inference", Overlap.SERIAL, ring_groups=0, host_read=ATTEND)


def infinigen() -> AllOnHost:
    """A fifth of it is fetched, so results are those of an approximation."""
    policy = AllOnHost("infinigen", Overlap.BARRIER, ring_groups=2, host_read=SELECT)
    policy.is_lossy = True
    return policy
