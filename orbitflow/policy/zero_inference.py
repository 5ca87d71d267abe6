"""`zero-inference`: all KV on the host, and the CPU attends to it (DeepSpeed ZeRO-Inference).

    T = base + request n + L (KV bytes of a layer / host attention rate + q down + o up)

Nothing overlaps: each layer waits for the CPU. Whoever fits into host memory is served. Source: the
zero_inference example of DeepSpeedExamples, read as code.

Simplified: weights stay on the GPU (the example streams them too); the host grows by the page
instead of being allocated for the longest context; the tail page lies on the GPU, as for every
policy here. The KV behind a chunk of a prompt comes back over the link, layer by layer, as the GPU
attends in a prefill; room for that is taken from the workspace.
"""

from __future__ import annotations

from orbitflow.machine.pipeline import ATTEND, Overlap
from orbitflow.placement import HostLayers, stride
from orbitflow.policy.uniform import UniformPolicy


class ZeroInference(UniformPolicy):
    """Everything on the host, attended to there."""

    def __init__(self) -> None:
        super().__init__("zero-inference", Overlap.SERIAL, ring_groups=0, host_read=ATTEND)

    def choices(self) -> tuple[HostLayers, ...]:
        """All layers."""
        return (stride(self.limits.layers, 0),)
