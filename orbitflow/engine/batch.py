"""What the next pass works on: pieces of prompts, and one token for every running request.

Prefill. Chunk size 0: one whole prompt per pass, first come first served, and decode waits
meanwhile. Chunk size C: each pass takes up to C prompt tokens beside the decode. Chunks end at
multiples of C of their own prompt, so that the boundaries depend on the prompt alone and never on
who else is there (which keeps a real backend's logits equal).

Decode. Sums and arrays are kept up to date as requests join and leave, so that a pass which changes
nothing costs nothing and a change costs little. `version` grows whenever membership or residency
changes: what was prefetched under an old version is void.

Token times. Every running request gets one token per decode pass, so the end times of the passes,
kept in one array, are the token times of all of them: a request that ran through passes [a, b) has
the times ``clock[a:b]``. One that was paused has several such spans. Only what unfinished requests
still need is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.placement import HostLayers
from orbitflow.request import RequestState
from orbitflow.step import PrefillChunk, Stream


class PrefillQueue:
    """Requests whose prompts are not done, in order of arrival."""

    __slots__ = ("_chunk_tokens", "_states")

    def __init__(self, chunk_tokens: int) -> None:
        self._chunk_tokens = chunk_tokens
        self._states: dict[int, RequestState] = {}

    def __iter__(self) -> Iterator[RequestState]:
        return iter(self._states.values())

    def add(self, state: RequestState) -> None:
        """Queue a prompt, or the rest of one."""
        last = next(reversed(self._states.values())) if self._states else state
        self._states[state.id] = state
        if state.order < last.order:
            ordered = sorted(self._states.values(), key=lambda s: s.order)
            self._states = {s.id: s for s in ordered}

    def remove(self, state: RequestState) -> None:
        """Take a prompt out: it is done, or its request was paused."""
        del self._states[state.id]

    def next_chunks(self) -> tuple[tuple[PrefillChunk, ...], bool]:
        """The chunks of the next pass, and whether decode runs beside them."""
        if not self._states:
            return (), True
        if not self._chunk_tokens:
            head = next(iter(self._states.values()))
            return (_chunk(head, head.prefill_goal),), False
        chunks: list[PrefillChunk] = []
        budget = self._chunk_tokens
        for state in self._states.values():
            chunk = _chunk(state, self._chunk_tokens)
            if chunk.tokens > budget:
                break
            chunks.append(chunk)
            budget -= chunk.tokens
        return tuple(chunks), True


def _chunk(state: RequestState, limit: int) -> PrefillChunk:
    start, goal = state.prefilled_tokens, state.prefill_goal
    tokens = min(limit, goal - start)
    streamed = state.streamed_layers if start else state.target
    return PrefillChunk(state.id, start, tokens, start + tokens == goal, state.target, streamed)


_Key = tuple[HostLayers, HostLayers]  # (streamed layers, target)


class DecodeBatch:
    """Running requests in the order in which they joined."""

    def __init__(self) -> None:
        self._running: dict[int, RequestState] = {}
        self._offsets: dict[int, int] = {}  # context minus passes: constant while running
        self._key: _Key | None = None  # of all requests, while they have the same
        self._groups: list[tuple[HostLayers, HostLayers, IntArray | slice]] = []
        self._offset_array: IntArray = np.empty(0, dtype=np.int64)
        self._keys: object = None  # as of the last refresh
        self._stale = False
        self.ids: tuple[int, ...] = ()
        self.context_tokens = 0  # summed over the batch, in the next pass
        self.version = 0

    def join(self, state: RequestState, passes: int) -> None:
        """Let a request decode from the next pass on."""
        state.start(passes)
        context = state.context_tokens(passes)
        key = (state.streamed_layers, state.target)
        if not self._running:
            self._key = key
        elif self._key != key:
            self._key = None
        self._running[state.id] = state
        self._offsets[state.id] = context - passes
        self.context_tokens += context
        self._stale = True

    def leave(self, state: RequestState, passes: int) -> None:
        """Take a request out; call before its state changes."""
        del self._running[state.id]
        self.context_tokens -= self._offsets.pop(state.id) + passes
        self._stale = True

    def touch(self) -> None:
        """Note that residency changed."""
        keys = {(s.streamed_layers, s.target) for s in self._running.values()}
        self._key = keys.pop() if len(keys) == 1 else None
        self._stale = True

    def advance(self, passes_done: int) -> None:
        """Count the tokens that the passes added."""
        self.context_tokens += passes_done * len(self.ids)

    def refresh(self) -> None:
        """Bring ids, contexts and streams up to date before the next pass."""
        if not self._stale:
            return
        self._stale = False
        ids = tuple(self._running)
        keys: object = self._key
        if keys is None:
            keys = [(s.streamed_layers, s.target) for s in self._running.values()]
        if ids == self.ids and keys == self._keys:
            return
        self.version += 1
        self.ids, self._keys = ids, keys
        self._offset_array = np.fromiter(self._offsets.values(), np.int64, len(ids))
        self._groups = self._grouped()

    def contexts(self, passes: int) -> IntArray:
        """Context of each of `ids` in pass number `passes`, shape (requests,)."""
        return self._offset_array + passes

    def streams(self, passes: int) -> tuple[Stream, ...]:
        """What pass number `passes` must stream."""
        if not self._groups:
            return ()
        contexts = self.contexts(passes)
        return tuple(Stream(layers, kept, contexts[rows]) for layers, kept, rows in self._groups)

    def _grouped(self) -> list[tuple[HostLayers, HostLayers, IntArray | slice]]:
        if not self._running:
            return []
        if self._key is not None:
            return [(*self._key, slice(None))] if self._key[0] else []
        members: defaultdict[_Key, list[int]] = defaultdict(list)
        for index, state in enumerate(self._running.values()):
            members[state.streamed_layers, state.target].append(index)
        return [(*key, np.array(rows)) for key, rows in members.items() if key[0]]


class PassClock:
    """End times of the decode passes, addressed by pass number; forgets what no request needs."""

    __slots__ = ("_first", "_oldest_needed", "_times", "passes")

    def __init__(self, oldest_needed: Callable[[], int], capacity: int = 1 << 15) -> None:
        self._times = np.empty(capacity)
        self._first = 0  # number of the pass at _times[0]
        self._oldest_needed = oldest_needed
        self.passes = 0  # passes recorded so far, the number of the next one

    def append(self, end_s: FloatArray) -> None:
        """Record the end times of the next passes, in seconds."""
        at = self.passes - self._first
        count = len(end_s)
        if at + count > len(self._times):
            self._make_room(count)
            at = self.passes - self._first
        self._times[at : at + count] = end_s
        self.passes += count

    def between(self, start: int, stop: int) -> FloatArray:
        """End times of the passes start..stop-1 (a view: copy it before the next append)."""
        assert self._first <= start <= stop <= self.passes, (
            "token times asked for that were forgotten"
        )
        return self._times[start - self._first : stop - self._first]

    def _make_room(self, count: int) -> None:
        keep_from = min(max(self._oldest_needed(), self._first), self.passes)
        kept = self.between(keep_from, self.passes).copy()
        if 2 * (len(kept) + count) > len(self._times):
            self._times = np.empty(4 * (len(kept) + count))
        self._times[: len(kept)] = kept
        self._first = keep_from
