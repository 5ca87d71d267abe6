"""The base of policies that offload the same layers of every request.

With h of L layers on the host and, per request, A = pages and F = full pages of one layer at the
end of the window, a batch of n needs

    (L - h) sum(A) + h n + ring_groups sum(F)          GPU pages, the ring only where h > 0

First come first served: a request is resumed or admitted, the paused before the new, while the
batch fits under some allowed choice with two pages of head-room each. When growth no longer fits,
the latest arrival is paused.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from math import ceil

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.engine.policy import DataPlane, Decision, Lengths, Policy, View
from orbitflow.machine.pipeline import STREAM, HostRead, Overlap
from orbitflow.memory import BatchPages
from orbitflow.placement import HostLayers, Placement
from orbitflow.request import Request

LOOKAHEAD_PAGES = 2  # head-room of every choice, as in the paper's Dynamic Heuristic
LONGEST_WINDOW = 4096


class UniformPolicy(Policy):
    """All requests get the first of `choices()` that fits."""

    lengths = Lengths.NONE
    admission = "pages are free"

    def __init__(
        self, name: str, overlap: Overlap, ring_groups: int, host_read: HostRead = STREAM
    ) -> None:
        self.name = name
        self.data_plane = DataPlane(
            overlap, write_through=True, ring_groups=ring_groups, host_read=host_read
        )

    @abstractmethod
    def choices(self) -> tuple[HostLayers, ...]:
        """Allowed host layers, in order of preference."""

    def decide(self, view: View) -> Decision:
        """Pause if growth demands it; else resume and admit what fits; then place."""
        contexts = view.contexts
        if len(contexts) > 1 and not self._fits(BatchPages.of(self.limits, contexts)):
            return self._park(view)
        head_room = self._lookahead - 1
        near = BatchPages.of(self.limits, contexts, head_room)
        let_in: list[int] = []
        resume: list[int] = []
        for state in view.paused:
            context = state.context_tokens(view.passes)
            more = near.plus(self.limits, context + head_room)
            if near.requests and not self._fits(more):
                break
            near = more
            let_in.append(context)
            resume.append(state.id)
        admit: list[int] = []
        host_free = view.account.host_free
        for request in view.waiting if len(resume) == len(view.paused) else ():
            if self.data_plane.write_through:
                host_free -= self.limits.whole_pages(request.final_tokens)
            more = near.plus(self.limits, request.prompt_tokens + 1 + head_room)
            no_room = near.requests and not self._lets_in(more)
            if len(admit) >= view.batch_room or host_free < 0 or no_room:
                break
            near = more
            let_in.append(request.prompt_tokens + 1)
            admit.append(request.id)
        if let_in:
            contexts = np.concatenate([contexts, np.array(let_in, dtype=np.int64)])
        placement, window = self._place(contexts, near)
        return Decision(tuple(admit), (), tuple(resume), placement, window)

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """The smallest of its placements at the request's end."""
        tokens = max(request.final_tokens, request.prompt_tokens + 1)  # its first decision's window
        alone = BatchPages(1, self.limits.pages(tokens), self.limits.full_pages(tokens))
        return self._least(alone), self.limits.whole_pages(request.final_tokens)

    @property
    def _lookahead(self) -> int:
        return LOOKAHEAD_PAGES * self.limits.page_tokens

    @property
    def _charged_groups(self) -> int:
        """Groups of ring that come out of the capacity."""
        return 0 if self.limits.ring_is_extra else self.data_plane.ring_groups

    def _needs(self, batch: BatchPages, choice: HostLayers) -> int:
        kept_share = self.data_plane.host_read.kept_share
        return batch.gpu_pages(self.limits.layers, len(choice), self._charged_groups, kept_share)

    def _least(self, batch: BatchPages) -> int:
        return min(self._needs(batch, choice) for choice in self._extremes)

    @property
    def _extremes(self) -> tuple[HostLayers, ...]:
        """Choices of which one needs least: beyond none at all, needs are linear in the layers, but
        for a kept share, which is rounded.
        """
        choices = self.choices()
        if len(choices) < 4 or self.data_plane.host_read.kept_share:
            return choices
        hosted = [choice for choice in choices if choice]
        return tuple({choices[0], min(hosted, key=len), max(hosted, key=len)})

    def _fits(self, batch: BatchPages) -> bool:
        return self._least(batch) <= self.limits.gpu_pages

    def _lets_in(self, batch: BatchPages) -> bool:
        """Whether a new request may make the batch this large."""
        return self._fits(batch)

    def _park(self, view: View) -> Decision:
        """Pause the latest arrivals until the next pass fits."""
        passes, limits = view.passes, self.limits
        kept = sorted(view.active, key=lambda s: s.order)
        pause: list[int] = []
        while True:
            contexts = np.array([s.context_tokens(passes) for s in kept], dtype=np.int64)
            if len(kept) == 1 or self._fits(BatchPages.of(limits, contexts)):
                break
            pause.append(kept.pop().id)
        near = BatchPages.of(limits, contexts, self._lookahead - 1)
        placement, window = self._place(contexts, near)
        return Decision(pause=tuple(pause), placement=placement, window=window)

    def _place(self, contexts: IntArray, near: BatchPages) -> tuple[Placement, int]:
        """The preferred choice with head-room, and for how many passes it is sure to fit."""
        layers, ring, page = self.limits.layers, self._charged_groups, self.limits.page_tokens
        kept_share = self.data_plane.host_read.kept_share
        for choice in self.choices():
            free = self.limits.gpu_pages - self._needs(near, choice)
            if free >= 0:
                # In `page` passes each request grows by one page per layer, and so do the groups.
                per_page = near.requests * (layers - len(choice) + (ring if choice else 0))
                per_page += ceil(kept_share * len(choice) * near.requests)
                more = free // per_page if per_page else LONGEST_WINDOW
                return Placement(choice), min(self._lookahead + more * page, LONGEST_WINDOW)
        now = BatchPages.of(self.limits, contexts)
        smallest = min(self.choices(), key=lambda choice: self._needs(now, choice))

        def grown(tokens: int) -> int:
            return self._needs(BatchPages.of(self.limits, contexts, tokens), smallest)

        # The first window after which more is needed than there is; needs only rise with it.
        longer = bisect_right(range(1, LONGEST_WINDOW), self.limits.gpu_pages, key=grown)
        return Placement(smallest), 1 + longer
