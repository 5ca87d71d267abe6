"""`select-n-artifact`: the OrbitFlow authors' Select-N, which looks at neither the SLO nor memory.

    off = int(T / X)     T: a pass with x tokens on the GPU     X: link time of all their KV
    off = 0: distance 1     off = 1: nothing on the host     else: distance max(1, L // off)

x counts every request at least at the mean final length (oracle, `mean_length`). As X > T from some
two thousand tokens on, it has two states in practice: everything on the GPU, or every second layer
on the host, whatever there is room for. Chosen when the batch changes, after the prefill. A
newcomer is let in if all its layers fit; when growth no longer fits, the latest arrival is parked.
Source: the published artefact (arXiv 2601.10729); its preemption is a park here.
"""

from __future__ import annotations

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.engine.policy import Decision, Lengths, View
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import BatchPages
from orbitflow.placement import RESIDENT, HostLayers, stride
from orbitflow.policy.select_n import MeanLength
from orbitflow.policy.uniform import UniformPolicy
from orbitflow.request import Phase, Request


class SelectNArtifact(UniformPolicy):
    """One choice at a time, made without a look at memory."""

    lengths = Lengths.ORACLE
    admission = "all layers fit"

    def __init__(self) -> None:
        super().__init__("select-n-artifact", Overlap.RING, ring_groups=2)
        self._mean = MeanLength()
        self._batch: tuple[int, ...] = ()
        self._choice = RESIDENT

    def choices(self) -> tuple[HostLayers, ...]:
        """The one that the last change of the batch led to."""
        return (self._choice,)

    def decide(self, view: View) -> Decision:
        """Choose anew if others decode than last time, then go on as every uniform policy."""
        running = [s for s in view.active if s.state is Phase.RUNNING]
        batch = tuple(sequence.id for sequence in running)
        if running and batch != self._batch:
            self._batch = batch
            self._mean.meet(running)
            contexts = np.array([s.context_tokens(view.passes) for s in running], dtype=np.int64)
            self._choice = self._chosen(contexts)
        return super().decide(view)

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """The largest of what it may choose, as it chooses without a look at memory."""
        tokens = max(request.final_tokens, request.prompt_tokens + 1)
        alone = BatchPages(1, self.limits.pages(tokens), self.limits.full_pages(tokens))
        gpu = max(self._needs(alone, choice) for choice in self._possible())
        return gpu, self.limits.whole_pages(request.final_tokens)

    def _possible(self) -> tuple[HostLayers, ...]:
        layers = self.limits.layers
        return (RESIDENT, *(stride(layers, d) for d in range(1, layers)))

    def _lets_in(self, batch: BatchPages) -> bool:
        return super()._lets_in(batch) and self._needs(batch, RESIDENT) <= self.limits.gpu_pages

    def _chosen(self, contexts: IntArray) -> HostLayers:
        cost, layers = self.cost, self.limits.layers
        lengths = np.maximum(contexts, self._mean.tokens)
        pass_s = cost.decode_pass_s(len(lengths), int(lengths.sum()))
        all_kv_s = layers * float(cost.stream_s(lengths, 1)[0][0])
        off = int(pass_s / all_kv_s) if all_kv_s else layers
        if off == 1:
            return RESIDENT
        return stride(layers, max(1, layers // off) if off else 1)
