"""Moves: the difference between where KV is and where the policy wants it, as work for the driver.

promote  host -> GPU of a running request: its staged copy is kept, so no bytes beyond streaming
demote   GPU -> host: free once the pages' stores are done (write-through)
pause    flush the tail pages (and, without write-through, everything), then free all but the full
         pages of layers that are to stay
resume   bring the tail pages back; what the target wants resident is promoted
load     host -> GPU of a paused request, in the background

Residency changes only when the driver says that a move is done.
"""

from __future__ import annotations

from collections.abc import Iterable

from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT, HostLayers, stride
from orbitflow.request import Phase, RequestState
from orbitflow.step import Move, MoveKind


class Relocations:
    """Moves asked for and not yet done."""

    def __init__(self, limits: KvLimits, *, write_through: bool) -> None:
        self._limits = limits
        self._write_through = write_through
        self._all_layers = stride(limits.layers, 0)
        self._next_id = 0
        self._new: list[Move] = []
        self._under_way: dict[int, Move] = {}

    def pause(self, state: RequestState, passes: int, wanted: HostLayers | None = None) -> None:
        """Free what a request holds on the GPU: everything, or, written through, the layers that
        are `wanted` on the host.
        """
        self.forget(state.id)
        held_on_host = len(state.host)
        if wanted is None or not self._write_through:
            wanted = self._all_layers
        state.host = tuple(sorted({*state.host, *wanted}))
        state.target = self._without_arriving(state.id, state.host)
        if not state.prefilled_tokens:
            return
        tokens = state.context_tokens(passes)
        pages = self._tails(tokens)
        if not self._write_through:
            resident = self._limits.layers - held_on_host
            pages += resident * self._limits.full_pages(tokens)
        self._ask(MoveKind.PAUSE, state.id, state.host, pages, blocking=True)

    def resume(self, state: RequestState, passes: int) -> None:
        """Bring a paused request's tail pages back; without write-through, everything."""
        if not self._write_through:
            state.host = state.target = RESIDENT
        if not state.prefilled_tokens:
            return
        tokens = state.context_tokens(passes)
        pages = self._tails(tokens)
        if not self._write_through:
            pages += self._limits.layers * self._limits.full_pages(tokens)
        self._ask(MoveKind.RESUME, state.id, self._all_layers, pages, blocking=True)

    def place(self, state: RequestState, target: HostLayers, passes: int) -> bool:
        """Want `target` on the host from now on. Return whether that changes anything.

        A copy that is under way cannot be called back: its layers stay wanted until it is done.
        """
        target = self._without_arriving(state.id, target)
        if target == state.target and target == state.host:
            return False
        self.forget(state.id)
        state.target = target
        if not state.prefilled_tokens:
            state.host = target  # nothing is anywhere yet
            return True
        host, wanted = set(state.host), set(target)
        if down := tuple(sorted(wanted - host)):
            self._ask(MoveKind.DEMOTE, state.id, down, 0, blocking=True)
        if up := tuple(sorted(host - wanted - self.arriving(state.id))):
            if state.phase is Phase.PAUSED:
                full = self._limits.full_pages(state.context_tokens(passes))
                self._ask(MoveKind.LOAD, state.id, up, len(up) * full, blocking=False)
            elif state.phase is Phase.RUNNING:
                self._ask(MoveKind.PROMOTE, state.id, up, 0, blocking=False)
        return True

    def take(self, *, decoding: bool) -> tuple[Move, ...]:
        """Moves for the next step; promotions wait for a step that decodes."""
        if not self._new:
            return ()
        sent = tuple(m for m in self._new if decoding or m.kind is not MoveKind.PROMOTE)
        self._new = [m for m in self._new if not decoding and m.kind is MoveKind.PROMOTE]
        self._under_way.update((m.id, m) for m in sent)
        return sent

    def done(self, move_ids: Iterable[int]) -> list[Move]:
        """Strike off what the driver has done."""
        return [self._under_way.pop(move_id) for move_id in move_ids]

    @property
    def has_arriving(self) -> bool:
        """Whether some layer is on its way to the GPU."""
        return any(m.kind in (MoveKind.LOAD, MoveKind.PROMOTE) for m in self._under_way.values())

    @property
    def pending(self) -> int:
        """Moves that the driver has not finished, or not been given."""
        return len(self._under_way) + len(self._new)

    def _ask(
        self, kind: MoveKind, request_id: int, layers: HostLayers, pages: int, *, blocking: bool
    ) -> None:
        self._new.append(Move(self._next_id, kind, request_id, layers, pages, blocking))
        self._next_id += 1

    def _tails(self, context_tokens: int) -> int:
        """Tail pages with anything in them: none where the last page is exactly full."""
        partial = (context_tokens - 1) % self._limits.page_tokens
        return self._limits.layers if partial else 0

    def arriving(self, request_id: int) -> set[int]:
        """Layers of a request on their way to the GPU, which cannot be called back."""
        return {
            layer
            for move in self._under_way.values()
            if move.request_id == request_id and move.kind in (MoveKind.LOAD, MoveKind.PROMOTE)
            for layer in move.layers
        }

    def _without_arriving(self, request_id: int, layers: HostLayers) -> HostLayers:
        arriving = self.arriving(request_id) if self._under_way else ()
        return tuple(x for x in layers if x not in arriving) if arriving else layers

    def forget(self, request_id: int) -> None:
        """Drop the placing moves of a request that no step has carried yet."""
        placing = (MoveKind.PROMOTE, MoveKind.DEMOTE, MoveKind.LOAD)
        self._new = [m for m in self._new if m.request_id != request_id or m.kind not in placing]
