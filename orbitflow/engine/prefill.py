"""Which piece of which prompt a pass takes.

Chunk size 0: one whole prompt per pass, first come first served, and decode waits meanwhile. Chunk
size C: each pass takes up to C prompt tokens beside the decode. Chunks end at multiples of C of
their own prompt, so that the boundaries depend on the prompt alone and never on who else is there
(which keeps a real backend's logits equal).
"""

from __future__ import annotations

from collections.abc import Iterator

from orbitflow.request import RequestState
from orbitflow.step import PrefillChunk


class PrefillQueue:
    """Sequences whose prompts are not done, in order of arrival."""

    __slots__ = ("_chunk_tokens", "_sequences")

    def __init__(self, chunk_tokens: int) -> None:
        self._chunk_tokens = chunk_tokens
        self._sequences: dict[int, RequestState] = {}

    def __iter__(self) -> Iterator[RequestState]:
        return iter(self._sequences.values())

    def add(self, sequence: RequestState) -> None:
        """Queue a prompt, or the rest of one."""
        last = next(reversed(self._sequences.values())) if self._sequences else sequence
        self._sequences[sequence.id] = sequence
        if sequence.order < last.order:
            ordered = sorted(self._sequences.values(), key=lambda s: s.order)
            self._sequences = {s.id: s for s in ordered}

    def remove(self, sequence: RequestState) -> None:
        """Take a prompt out: it is done, or its request was parked."""
        del self._sequences[sequence.id]

    def next_chunks(self) -> tuple[tuple[PrefillChunk, ...], bool]:
        """The chunks of the next pass, and whether decode runs beside them."""
        if not self._sequences:
            return (), True
        if not self._chunk_tokens:
            head = next(iter(self._sequences.values()))
            return (_chunk(head, head.prefill_goal),), False
        chunks: list[PrefillChunk] = []
        budget = self._chunk_tokens
        for sequence in self._sequences.values():
            chunk = _chunk(sequence, self._chunk_tokens)
            if chunk.tokens > budget:
                break
            chunks.append(chunk)
            budget -= chunk.tokens
        return tuple(chunks), True


def _chunk(sequence: RequestState, limit: int) -> PrefillChunk:
    start, goal = sequence.prefilled_tokens, sequence.prefill_goal
    tokens = min(limit, goal - start)
    streamed = sequence.streamed_layers if start else sequence.target
    return PrefillChunk(
        sequence.id, start, tokens, start + tokens == goal, sequence.target, streamed
    )
