"""`neo`: every request lies on the GPU or on the host as a whole; the CPU attends for the latter.

A pass runs two sub-batches. With G the GPU time of those on the GPU, H = base + request n_h that of
the others without attention, and A = L (KV of a layer / host attention rate + q down + o up):

    T = H + max(G, A)          base is paid once per sub-batch, and layers go in step

Before every decision, in this order: while the GPU is too full for the next pass, its latest
request moves to the host list; else the head of that list moves back while it fits into 95 % of the
GPU. New requests go to the GPU if they fit and the list is empty, else to the host. The first of
the list run while A <= G, if that gives more tokens per second than the GPU alone; the others are
paused. Source: NEO (MLSys 2025), its scheduler.

Simplified: host requests form one of the sub-batches, not both; a whole prompt takes a pass of its
own, a chunk counts to the GPU's sub-batch; KV is written through as everywhere, so moving to the
host is free, and moving back fetches all KV at once in the next pass; decided when the batch
changes and at least every two pages, not in every pass.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orbitflow.engine.policy import DataPlane, Decision, Lengths, Policy, View
from orbitflow.machine.pipeline import ATTEND, Overlap
from orbitflow.placement import RESIDENT, Placement, stride
from orbitflow.request import Phase, Request, RequestState

FULL_ENOUGH = 0.95  # of the GPU: beyond that nobody moves back
LOOKAHEAD_PAGES = 2  # head-room of newcomers, and the longest window


@dataclass(slots=True)
class _Sides:
    """Requests by where they lie, in order of arrival, before pass number `passes`."""

    gpu: list[RequestState]
    host: list[RequestState]
    passes: int

    @classmethod
    def of(cls, view: View) -> _Sides:
        """As the last decision left them."""
        rows = sorted((*view.active, *view.paused), key=lambda s: s.order)
        on_gpu = [s for s in rows if s.phase is not Phase.PAUSED and s.target == RESIDENT]
        on_host = [s for s in rows if s.phase is Phase.PAUSED or s.target != RESIDENT]
        return cls(on_gpu, on_host, view.passes)

    @property
    def prompts(self) -> list[RequestState]:
        """Rows on the host whose prompts are not done: they stay active."""
        return [s for s in self.host if s.needs_prefill]

    def contexts(self, rows: Iterable[RequestState]) -> list[int]:
        """Their contexts in the next pass."""
        return [s.context_tokens(self.passes) for s in rows]


class Neo(Policy):
    """Whole requests on either side, attention on both."""

    name = "neo"
    lengths = Lengths.NONE
    data_plane = DataPlane(Overlap.BATCHES, write_through=True, ring_groups=0, host_read=ATTEND)
    admission = "the host has room"

    def decide(self, view: View) -> Decision:
        """Move one way or the other, admit, and choose which of the host list run."""
        sides = _Sides.of(view)
        if not self._move_out(sides):
            self._move_back(sides)
        to_gpu, to_host = self._newcomers(view, sides)
        contexts = sides.contexts(sides.gpu) + [r.prompt_tokens + 1 for r in to_gpu]
        room = self.limits.gpu_pages - self._pages(contexts)
        tails = room // self.limits.layers - len(sides.prompts) - len(to_host)
        hosted = [*sides.prompts, *self._running(sides, tails)]
        runs = {s.id for s in (*sides.gpu, *hosted)}
        on_host = [*(s.id for s in hosted), *(r.id for r in to_host)]
        return Decision(
            admit=tuple(r.id for r in (*to_gpu, *to_host)),
            pause=tuple(s.id for s in view.active if s.id not in runs),
            resume=tuple(s.id for s in view.paused if s.id in runs),
            placement=Placement(RESIDENT, dict.fromkeys(on_host, stride(self.limits.layers, 0))),
            window=self._window(contexts, len(on_host)),
        )

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """On the host, with a tail page per layer on the GPU."""
        return self.limits.layers, self.limits.whole_pages(request.final_tokens)

    # -- memory --------------------------------------------------------------------------------

    def _pages(self, contexts: Iterable[int], tails: int = 0, ahead: int = 0) -> int:
        """GPU pages of contexts that lie there, and of the tails of requests that do not."""
        limits = self.limits
        return limits.layers * (sum(limits.pages(c + ahead) for c in contexts) + tails)

    def _move_out(self, sides: _Sides) -> bool:
        """Move the latest to the host while the next pass does not fit; whether any had to."""
        before = len(sides.gpu)
        while sides.gpu:
            pages = self._pages(sides.contexts(sides.gpu), len(sides.prompts))
            if pages <= self.limits.gpu_pages:
                break
            sides.host.append(sides.gpu.pop())
        sides.host.sort(key=lambda s: s.order)
        return len(sides.gpu) < before

    def _move_back(self, sides: _Sides) -> None:
        """Move the head of the host list to the GPU while that is not too full."""
        while sides.host and not sides.host[0].needs_prefill:
            rows = [*sides.gpu, sides.host[0]]
            pages = self._pages(sides.contexts(rows), len(sides.prompts))
            if pages > FULL_ENOUGH * self.limits.gpu_pages:
                break
            sides.gpu.append(sides.host.pop(0))
        sides.gpu.sort(key=lambda s: s.order)

    def _newcomers(self, view: View, sides: _Sides) -> tuple[list[Request], list[Request]]:
        """Requests to admit, to the GPU and to the host. None overtakes the host list."""
        to_gpu: list[Request] = []
        to_host: list[Request] = []
        contexts, tails = sides.contexts(sides.gpu), len(sides.prompts)
        ahead = self._longest_window - 1
        host_free = view.account.host_free
        for request in view.waiting:
            host_free -= self.limits.whole_pages(request.final_tokens)
            if host_free < 0 or len(to_gpu) + len(to_host) >= view.batch_room:
                break
            more = [*contexts, request.prompt_tokens + 1]
            queues = sides.host or to_host
            if not queues and self._pages(more, tails, ahead) <= self.limits.gpu_pages:
                to_gpu.append(request)
                contexts = more
            elif self._pages(contexts, tails + 1) <= self.limits.gpu_pages:
                to_host.append(request)
                tails += 1
            else:
                break
        return to_gpu, to_host

    def _window(self, contexts: list[int], tails: int) -> int:
        """The most passes that are sure to fit, up to two pages."""

        def pages(window: int) -> int:
            return self._pages(contexts, tails, window - 1)

        windows = range(1, self._longest_window + 1)
        return max(1, bisect_right(windows, self.limits.gpu_pages, key=pages))

    @property
    def _longest_window(self) -> int:
        return LOOKAHEAD_PAGES * self.limits.page_tokens

    # -- time ----------------------------------------------------------------------------------

    def _running(self, sides: _Sides, tails: int) -> list[RequestState]:
        """The first of the host list that the CPU can attend for while the GPU works; all of them
        if there is nobody else. `tails` is how many have room for their tail pages.
        """
        rows = [s for s in sides.host if not s.needs_prefill][: max(0, tails)]
        if not sides.gpu:
            return rows
        cost, contexts = self.cost, sides.contexts(sides.gpu)
        gpu_s = cost.decode_pass_s(len(contexts), sum(contexts))
        beside_s = gpu_s - cost.outside_s
        kv_bytes = np.cumsum([self.limits.full_pages(c) for c in sides.contexts(rows)], dtype=float)
        attends_s = [
            cost.layers * float(cost.host_attention_s(pages * cost.page_bytes, n))
            for n, pages in enumerate(kv_bytes, 1)
        ]
        count = bisect_right(attends_s, beside_s)
        both_s = gpu_s + cost.decode_pass_s(count, 0)
        is_faster = (len(contexts) + count) / both_s > len(contexts) / gpu_s
        return rows[:count] if is_faster else []
