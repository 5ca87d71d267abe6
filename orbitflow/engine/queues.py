"""Which requests are waiting, active (prefilling or running) or paused, and how they move on.

waiting --admit--> prefilling --first token--> running --last token--> gone
                        |                         |
                        +-------- pause --------->+--- paused --resume--> where it was

A request holds a place in the batch from admission to its end, paused or not.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.engine.batch import DecodeBatch, PrefillQueue
from orbitflow.errors import PolicyError
from orbitflow.placement import HostLayers
from orbitflow.request import Phase, Request, RequestState


class Queues:
    """Membership only: no memory, no moves."""

    def __init__(self, max_batch: int | None, prefill_chunk: int) -> None:
        self._max_batch = max_batch
        self._submitted = 0
        self._orders: dict[int, int] = {}  # of the waiting
        self.waiting: OrderedDict[int, Request] = OrderedDict()
        self.active: dict[int, RequestState] = {}
        self.paused: dict[int, RequestState] = {}
        self.prefills = PrefillQueue(prefill_chunk)
        self.batch = DecodeBatch()
        self._ends: list[
            tuple[int, int]
        ] = []  # heap of (finish pass, id); stale entries are skipped

    @property
    def room(self) -> int:
        """How many more requests may be admitted."""
        if self._max_batch is None:
            return 1 << 30
        return self._max_batch - len(self.active) - len(self.paused)

    def contexts(self, passes: int) -> IntArray:
        """Contexts of all active requests, the prefilling last, shape (active,), in tokens."""
        self.batch.refresh()
        running = self.batch.contexts(passes)
        if len(running) == len(self.active):
            return running
        waiting = [s.context_tokens(passes) for s in self.prefills]
        return np.concatenate([running, np.array(waiting, dtype=np.int64)])

    @property
    def is_open(self) -> bool:
        """Whether an arrival now could be admitted at once (first come first served)."""
        return not (self.waiting or self.paused or self.room <= 0)

    @property
    def is_empty(self) -> bool:
        """Whether no request waits, runs or is paused."""
        return not (self.waiting or self.active or self.paused)

    def submit(self, request: Request) -> None:
        """Let a request wait. Order of arrival is the order of these calls."""
        assert request.id not in self._orders, f"request {request.id} was submitted before"
        self.waiting[request.id] = request
        self._orders[request.id] = self._submitted
        self._submitted += 1

    def admit(
        self, request_id: int, host: HostLayers, tbt_limit_s: float, now_s: float
    ) -> RequestState:
        """Start a waiting request's prefill."""
        if request_id not in self.waiting or self.room <= 0:
            raise PolicyError(f"request {request_id} cannot be admitted: not waiting, or no room")
        order = self._orders.pop(request_id)
        state = RequestState(
            self.waiting.pop(request_id), now_s, tbt_limit_s, host, host, order=order
        )
        self.active[request_id] = state
        self.prefills.add(state)
        return state

    def first_token(self, state: RequestState, passes: int, now_s: float) -> None:
        """The prefill is done and its token is out: decode from the next pass on."""
        self.prefills.remove(state)
        state.prefilled(now_s)
        self._run(state, passes)

    def pause(self, request_id: int, passes: int, now_s: float) -> RequestState:
        """Stop an active request."""
        if request_id not in self.active:
            raise PolicyError(f"request {request_id} cannot be paused: it is not active")
        state = self.active.pop(request_id)
        if state.phase is Phase.RUNNING:
            self.batch.leave(state, passes)
            state.stop(passes, Phase.PAUSED)
        else:
            self.prefills.remove(state)
            state.phase = Phase.PAUSED
        state.paused_since_s = now_s
        self.paused[request_id] = state
        return state

    def resume(self, request_id: int, passes: int, now_s: float) -> RequestState:
        """Let a paused request go on where it stopped."""
        if request_id not in self.paused:
            raise PolicyError(f"request {request_id} cannot be resumed: it is not paused")
        state = self.paused.pop(request_id)
        state.paused_s += now_s - state.paused_since_s
        self.active[request_id] = state
        if state.needs_prefill:
            state.phase = Phase.PREFILL
            self.prefills.add(state)
        else:
            self._run(state, passes)
        return state

    def retire(self, state: RequestState, passes: int) -> None:
        """Its last token is out."""
        self.batch.leave(state, passes)
        state.stop(passes, Phase.FINISHED)
        del self.active[state.id]

    def next_end(self) -> int:
        """Pass number at which the first running request ends. At least one must be running."""
        while not self._is_valid(self._ends[0]):
            heapq.heappop(self._ends)
        return self._ends[0][0]

    def ended(self, passes: int) -> list[RequestState]:
        """Running requests whose last token came in pass `passes`, taken off the list."""
        ended: list[RequestState] = []
        while self._ends and self._ends[0][0] <= passes:
            entry = heapq.heappop(self._ends)
            # One that was paused and resumed within a pass stands in the heap twice.
            if self._is_valid(entry) and self.active[entry[1]] not in ended[-1:]:
                ended.append(self.active[entry[1]])
        return ended

    def oldest_needed_pass(self, passes: int) -> int:
        """The first pass whose time an unfinished request still needs."""
        oldest = passes
        for state in (*self.active.values(), *self.paused.values()):
            first = next((s for s in state.history if isinstance(s, tuple)), None)
            if first is not None:
                oldest = min(oldest, first[0])
            elif state.phase is Phase.RUNNING:
                oldest = min(oldest, state.since_pass)
        return oldest

    def _run(self, state: RequestState, passes: int) -> None:
        self.batch.join(state, passes)
        heapq.heappush(self._ends, (state.finish_pass, state.id))

    def _is_valid(self, entry: tuple[int, int]) -> bool:
        state = self.active.get(entry[1])
        return state is not None and state.phase is Phase.RUNNING and state.finish_pass == entry[0]
