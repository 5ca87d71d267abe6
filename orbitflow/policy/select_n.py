"""`select-n`, `select-n-artifact` and `flexgen-plus`: one stride from a formula on the batch.

select-n            one layer of every N on the host, N from the slack that the SLO leaves:

    N = ceil(x / (t_c (1 + delta))), between 1 and L     delta = (SLO - T) / T
    T = groups max(N t_c, x) + the layers left over      groups = L // N

    x is the link time of one layer of the batch, T and t_c the pass and its layer with all KV on
    the GPU: the smallest N, so the most KV on the host, whose transfers still end within the SLO,
    which is the tightest of the batch. A new request waits where that N does not make room for it.
    Source: Select-N (arXiv 2502.08182), as the OrbitFlow authors state it.

select-n-artifact   the OrbitFlow authors' Select-N, which looks at neither the SLO nor memory:

    off = int(T / X)     T: a pass with x tokens on the GPU     X: link time of all their KV
    off = 0: distance 1     off = 1: nothing on the host     else: distance max(1, L // off)

    x counts every request at least at the mean final length. As X > T from some two thousand tokens
    on, it has two states in practice: everything on the GPU, or every second layer on the host.
    Chosen when the batch changes, after the prefill. A new request is admitted if all its layers
    fit; when growth no longer fits, the latest arrival is paused.

flexgen-plus        FlexGen as the OrbitFlow authors strengthened it:

    blocks of a layer = sum over requests of (ceil(max(context, mean) / page) + 1)
    off = L - min(L, capacity // blocks)          layers that do not fit
    distance = max(1, L // off - 1)               nothing on the host where off = 0

    It offloads as if every request had at least the mean final length, so it changes its choice
    less often than `dynamic` and offloads more.

Sources of the last two: the published artefact (arXiv 2601.10729). It hands them the mean length of
the whole trace, an oracle. A policy that serves requests as they come can know at most the mean of
those met so far, their true outputs included, which is `MeanLength`.

Simplified: `select-n` and `flexgen-plus` choose whenever the batch changes and once a page, instead
of in every pass; where tail pages and the staging ring do not fit beside the choice, the next
narrower stride is taken, also where that breaks the SLO. Transfers run on the ring that all
policies share, which may hide a little more than the formula's groups do. The artefact's preemption
is a pause here.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.engine.policy import Decision, Lengths, View
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import BatchPages
from orbitflow.placement import RESIDENT, HostLayers, stride, useful_distances
from orbitflow.policy.uniform import UniformPolicy
from orbitflow.request import Phase, Request, RequestState


class MeanLength:
    """Mean final length of the requests met so far, each once; they are met in order of arrival."""

    def __init__(self) -> None:
        self._met = 0
        self._tokens = 0
        self._newest = -1

    def meet(self, states: Iterable[RequestState]) -> None:
        """Count those who are new."""
        newest = self._newest
        for state in states:
            if state.order > newest:
                self._met += 1
                self._tokens += state.request.final_tokens
                self._newest = max(self._newest, state.order)

    @property
    def tokens(self) -> int:
        """The mean, rounded down; 0 before the first request."""
        return self._tokens // self._met if self._met else 0


class SelectN(UniformPolicy):
    """The smallest interval that meets the SLO."""

    admission = "fits within the SLO"

    def __init__(self) -> None:
        super().__init__("select-n", Overlap.RING, ring_groups=2)
        self._interval: int | None = None  # as of the last decision; None: nobody is here yet
        self._tbt_limit_s = 0.0

    def choices(self) -> tuple[HostLayers, ...]:
        """The interval's layers, then those of ever smaller ones, which leave more on the host."""
        layers = self.limits.layers
        by_size: dict[int, HostLayers] = {}
        for interval in range(self._interval or layers, 0, -1):
            host = stride(layers, interval - 1)
            by_size.setdefault(len(host), host)
        return tuple(by_size.values())

    def decide(self, view: View) -> Decision:
        """Choose the interval for who is here, then go on as every uniform policy."""
        contexts, requests = view.contexts, [s.request for s in (*view.active, *view.paused)]
        self._tbt_limit_s = min(map(view.tbt_limit_of, requests or view.waiting), default=0.0)
        self._interval = None
        if len(contexts):
            group_s = float(self.cost.stream_s(contexts, 1)[0][0])
            self._interval = self._slo_interval(len(contexts), int(contexts.sum()), group_s)
        decision = super().decide(view)
        assert decision.window is not None
        return decision._replace(window=min(decision.window, self.limits.page_tokens))

    def _slo_interval(self, requests: int, context_tokens: int, group_s: float) -> int:
        """N of a batch whose layer travels in `group_s`."""
        cost = self.cost
        pass_s = cost.decode_pass_s(requests, context_tokens)
        allowed_s = (pass_s - cost.outside_s) / cost.layers * self._tbt_limit_s / pass_s
        return cost.layers if group_s >= cost.layers * allowed_s else ceil(group_s / allowed_s) or 1

    def _lets_in(self, batch: BatchPages) -> bool:
        cost = self.cost
        group_s = cost.copy_s(cost.h2d, batch.full_pages * cost.page_bytes, batch.requests)
        tokens = batch.pages * cost.page_tokens
        interval = self._slo_interval(batch.requests, tokens, group_s)
        host = stride(cost.layers, interval - 1)
        return super()._lets_in(batch) and self._needs(batch, host) <= self.limits.gpu_pages


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
        running = [s for s in view.active if s.phase is Phase.RUNNING]
        batch = tuple(state.id for state in running)
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


class FlexGenPlus(UniformPolicy):
    """The stride that an oracle's mean length asks for."""

    lengths = Lengths.ORACLE

    def __init__(self) -> None:
        super().__init__("flexgen-plus", Overlap.RING, ring_groups=2)
        self._mean = MeanLength()
        self._distance: int | None = None  # as of the last decision; None offloads nothing

    def choices(self) -> tuple[HostLayers, ...]:
        """The stride that was asked for, then ever narrower ones."""
        layers, distance = self.limits.layers, self._distance
        narrower = [d for d in useful_distances(layers) if distance is None or d < distance]
        first = RESIDENT if distance is None else stride(layers, distance)
        return (first, *(stride(layers, d) for d in narrower))

    def decide(self, view: View) -> Decision:
        """Choose the stride for who is here, then go on as every uniform policy."""
        self._mean.meet(view.active)
        self._distance = self._wanted(view.contexts)
        decision = super().decide(view)
        assert decision.window is not None
        return decision._replace(window=min(decision.window, self.limits.page_tokens))

    def _wanted(self, contexts: IntArray) -> int | None:
        limits = self.limits
        lengths = np.maximum(contexts, self._mean.tokens)
        blocks = int((-(-lengths // limits.page_tokens) + 1).sum())
        off = limits.layers - min(limits.layers, limits.gpu_pages // max(1, blocks))
        return max(1, limits.layers // off - 1) if off else None
