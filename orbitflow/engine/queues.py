"""Who is in the server: waiting, active (prefilling or running) or parked, and how one passes to
the next.

waiting --admit--> prefilling --first token--> running --last token--> gone
                        |                         |
                        +-------- park ---------->+--- parked --resume--> where it was

A request holds a place in the batch from admission to its end, parked or not.
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


class Roster:
    """Membership only: no memory, no moves."""

    def __init__(self, max_batch: int | None, prefill_chunk: int) -> None:
        self._max_batch = max_batch
        self._submitted = 0
        self._orders: dict[int, int] = {}  # of the waiting
        self.waiting: OrderedDict[int, Request] = OrderedDict()
        self.active: dict[int, RequestState] = {}
        self.parked: dict[int, RequestState] = {}
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
        return self._max_batch - len(self.active) - len(self.parked)

    def contexts(self, passes: int) -> IntArray:
        """Contexts of everybody active, the prefilling last, shape (active,), in tokens."""
        self.batch.refresh()
        running = self.batch.contexts(passes)
        if len(running) == len(self.active):
            return running
        waiting = [s.context_tokens(passes) for s in self.prefills]
        return np.concatenate([running, np.array(waiting, dtype=np.int64)])

    @property
    def is_open(self) -> bool:
        """Whether an arrival now could be admitted at once (first come first served)."""
        return not (self.waiting or self.parked or self.room <= 0)

    @property
    def is_empty(self) -> bool:
        """Whether nobody is here."""
        return not (self.waiting or self.active or self.parked)

    def submit(self, request: Request) -> None:
        """Let a request wait. Order of arrival is the order of these calls."""
        assert request.id not in self._orders, f"request {request.id} was submitted before"
        self.waiting[request.id] = request
        self._orders[request.id] = self._submitted
        self._submitted += 1

    def admit(self, request_id: int, host: HostLayers, tau_s: float, now_s: float) -> RequestState:
        """Start a waiting request's prefill."""
        if request_id not in self.waiting or self.room <= 0:
            raise PolicyError(f"request {request_id} cannot be admitted: not waiting, or no room")
        order = self._orders.pop(request_id)
        sequence = RequestState(self.waiting.pop(request_id), now_s, tau_s, host, host, order=order)
        self.active[request_id] = sequence
        self.prefills.add(sequence)
        return sequence

    def first_token(self, sequence: RequestState, passes: int, now_s: float) -> None:
        """The prefill is done and its token is out: decode from the next pass on."""
        self.prefills.remove(sequence)
        sequence.prefilled(now_s)
        self._run(sequence, passes)

    def park(self, request_id: int, passes: int, now_s: float) -> RequestState:
        """Stop an active request."""
        if request_id not in self.active:
            raise PolicyError(f"request {request_id} cannot be parked: it is not active")
        sequence = self.active.pop(request_id)
        if sequence.state is Phase.RUNNING:
            self.batch.leave(sequence, passes)
            sequence.stop(passes, Phase.PARKED)
        else:
            self.prefills.remove(sequence)
            sequence.state = Phase.PARKED
        sequence.parked_since_s = now_s
        self.parked[request_id] = sequence
        return sequence

    def resume(self, request_id: int, passes: int, now_s: float) -> RequestState:
        """Let a parked request go on where it stopped."""
        if request_id not in self.parked:
            raise PolicyError(f"request {request_id} cannot be resumed: it is not parked")
        sequence = self.parked.pop(request_id)
        sequence.paused_s += now_s - sequence.parked_since_s
        self.active[request_id] = sequence
        if sequence.needs_prefill:
            sequence.state = Phase.PREFILL
            self.prefills.add(sequence)
        else:
            self._run(sequence, passes)
        return sequence

    def retire(self, sequence: RequestState, passes: int) -> None:
        """Its last token is out."""
        self.batch.leave(sequence, passes)
        sequence.stop(passes, Phase.FINISHED)
        del self.active[sequence.id]

    def next_end(self) -> int:
        """Pass number at which the first running request ends. Somebody must be running."""
        while not self._is_valid(self._ends[0]):
            heapq.heappop(self._ends)
        return self._ends[0][0]

    def ended(self, passes: int) -> list[RequestState]:
        """Running requests whose last token came in pass `passes`, taken off the list."""
        ended: list[RequestState] = []
        while self._ends and self._ends[0][0] <= passes:
            entry = heapq.heappop(self._ends)
            # One that was parked and resumed within a pass stands in the heap twice.
            if self._is_valid(entry) and self.active[entry[1]] not in ended[-1:]:
                ended.append(self.active[entry[1]])
        return ended

    def oldest_needed_pass(self, passes: int) -> int:
        """The first pass whose time an unfinished request still needs."""
        oldest = passes
        for sequence in (*self.active.values(), *self.parked.values()):
            first = next((s for s in sequence.history if isinstance(s, tuple)), None)
            if first is not None:
                oldest = min(oldest, first[0])
            elif sequence.state is Phase.RUNNING:
                oldest = min(oldest, sequence.since_pass)
        return oldest

    def _run(self, sequence: RequestState, passes: int) -> None:
        self.batch.join(sequence, passes)
        heapq.heappush(self._ends, (sequence.finish_pass, sequence.id))

    def _is_valid(self, entry: tuple[int, int]) -> bool:
        sequence = self.active.get(entry[1])
        return (
            sequence is not None
            and sequence.state is Phase.RUNNING
            and sequence.finish_pass == entry[0]
        )
