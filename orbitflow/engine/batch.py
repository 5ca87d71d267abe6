"""The decode batch: who gets a token in the next pass, and what of their KV must be streamed.

Sums and arrays are kept up to date as requests join and leave, so that a pass which changes nothing
costs nothing and a change costs little. `version` grows whenever membership or residency changes:
what was prefetched under an old version is void.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.placement import HostLayers
from orbitflow.request import RequestState
from orbitflow.step import Stream

_Key = tuple[HostLayers, HostLayers]  # (streamed layers, target)


class DecodeBatch:
    """Running sequences in the order in which they joined."""

    def __init__(self) -> None:
        self._running: dict[int, RequestState] = {}
        self._offsets: dict[int, int] = {}  # context minus passes: constant while running
        self._key: _Key | None = None  # of everybody, while all have the same
        self._groups: list[tuple[HostLayers, HostLayers, IntArray | slice]] = []
        self._offset_array: IntArray = np.empty(0, dtype=np.int64)
        self._keys: object = None  # as of the last refresh
        self._stale = False
        self.ids: tuple[int, ...] = ()
        self.context_tokens = 0  # summed over the batch, in the next pass
        self.version = 0

    def join(self, sequence: RequestState, passes: int) -> None:
        """Let a sequence decode from the next pass on."""
        sequence.start(passes)
        context = sequence.context_tokens(passes)
        key = (sequence.streamed_layers, sequence.target)
        if not self._running:
            self._key = key
        elif self._key != key:
            self._key = None
        self._running[sequence.id] = sequence
        self._offsets[sequence.id] = context - passes
        self.context_tokens += context
        self._stale = True

    def leave(self, sequence: RequestState, passes: int) -> None:
        """Take a sequence out; call before its state changes."""
        del self._running[sequence.id]
        self.context_tokens -= self._offsets.pop(sequence.id) + passes
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
        for index, sequence in enumerate(self._running.values()):
            members[sequence.streamed_layers, sequence.target].append(index)
        return [(*key, np.array(rows)) for key, rows in members.items() if key[0]]
