"""The bytes that steps ask for, worked out from the steps alone, as exactly as they are known.

up     streams         layers x full pages of each context, in every pass done
       promotions      are among the streams, once: a step that promotes does one pass
       prompts         pages behind a piece, in its streamed layers
       resumptions     a layer's tail page if it has tokens; without write-through, all its pages
       loads           their pages, whenever the link has time: known for the whole run only; one
                       that is under way when its request decodes again is finished first, so that
                       the step does not stream what it brings
down   write-through   each page once, in the pass that fills it; when parked, tails with tokens
       otherwise       all pages, when parked

What a step itself says is more in three cases. A move in the middle of a prompt counts all of the
prompt. A stream has the layers that a load is bringing. And where the CPU attends to what is on the
host, it does so for pieces of prompts as well, so nothing crosses the link for them, while the
simulator has the pages behind a piece cross it.
What is prefetched in vain, because the batch changed, is in no figure (`Traffic.dropped`).
"""

from __future__ import annotations

import numpy as np

from orbitflow.engine.policy import DataPlane
from orbitflow.machine.cost import CostModel
from orbitflow.step import Move, MoveKind, Step, StepOutcome


class Ledger:
    """Follows a run step by step. `loads` are the bytes of background loads asked for so far."""

    def __init__(self, cost: CostModel, data_plane: DataPlane) -> None:
        self._cost = cost
        self._attends = data_plane.host_read.attends
        self._write_through = data_plane.write_through
        self._tokens: dict[int, int] = {}  # whose KV there is, by request
        self._loading: dict[int, Move] = {}
        self.loads = 0

    def enter(self, step: Step, outcome: StepOutcome) -> tuple[int, int]:
        """Bytes up, without loads, and down, of a step; only passes done and moves done are taken
        from its outcome.
        """
        cost, passes = self._cost, len(outcome.pass_end_s)
        up = down = 0
        for move in step.moves:
            moved = self._move(move)
            up += moved if move.kind is MoveKind.RESUME else 0
            down += moved if move.kind is MoveKind.PAUSE else 0
        for stream in step.streams if passes else ():
            crossing = {*stream.layers} - ({*stream.staged} if self._attends else set())
            up += len(crossing) * int(cost.stream_bytes(stream.contexts, passes).sum())
        up -= self._loaded_instead(step, passes)
        new = 0
        for chunk in step.chunks:
            if chunk.start and not self._attends:
                behind = chunk.start // cost.page_tokens
                crossing = {*chunk.streamed_layers} - self._arriving(chunk.request_id)
                up += len(crossing) * behind * cost.page_bytes
            assert chunk.start in (0, self._tokens.get(chunk.request_id))
            self._tokens[chunk.request_id] = chunk.start
            new += self._grow(chunk.request_id, chunk.tokens)
        for request_id in step.decode_ids:
            new += self._grow(request_id, passes)
        if self._write_through:
            down += new * cost.layers * cost.page_bytes
        for move_id in outcome.moves_done:
            self._loading.pop(move_id, None)
        return up, down

    def _loaded_instead(self, step: Step, passes: int) -> int:
        """Bytes in the streams of layers that a load brings before the first pass."""
        cost, total = self._cost, 0
        for request_id in step.decode_ids:
            if arriving := self._arriving(request_id):
                context = np.array([self._tokens[request_id] + 1])
                total += len(arriving) * int(cost.stream_bytes(context, passes).sum())
        return total

    def _arriving(self, request_id: int) -> set[int]:
        """Layers of a request that loads are bringing."""
        loads = [m for m in self._loading.values() if m.request_id == request_id]
        return {layer for load in loads for layer in load.layers}

    def _grow(self, request_id: int, tokens: int) -> int:
        """Pages of one layer that so many tokens fill."""
        before = self._tokens[request_id]
        self._tokens[request_id] = before + tokens
        return self._cost.new_pages(before, tokens)

    def _move(self, move: Move) -> int:
        """Bytes of one parking or resumption; loads are added up."""
        cost = self._cost
        if move.kind is MoveKind.LOAD:
            full = self._tokens[move.request_id] // cost.page_tokens
            self.loads += len(move.layers) * full * cost.page_bytes
            self._loading[move.id] = move
        if not move.pages or move.kind is MoveKind.LOAD:
            return 0
        full, tail = divmod(self._tokens[move.request_id], cost.page_tokens)
        pages = (tail > 0) + (0 if self._write_through else full)
        return cost.layers * pages * cost.page_bytes
