"""Nothing changes a bit for prompts that come in pieces, nor for prompts, pages, pools and rings of
any size: the boundaries of pieces depend on the prompt alone, those of pages on nothing.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

from reference.served import Served, alone, same, server, workload
from reference.stepped_channel import LinkMode

from orbitflow.step import MoveKind

POLICIES = (
    *("preempt-swap", "zero-inference", "neo", "flexgen", "static-1", "dynamic"),
    *("select-n-artifact", "flexgen-plus", "orbitflow", "orbit"),
)
CASES = [
    *((policy, 5, LinkMode.LATE) for policy in POLICIES),  # pieces end in the middle of pages
    *((policy, 8, LinkMode.EARLY) for policy in POLICIES[2::2]),  # or with them
]


@pytest.mark.parametrize(("policy", "chunk", "mode"), CASES)
def test_prompts_in_pieces(policy: str, chunk: int, mode: LinkMode) -> None:
    served = Served(server(policy, 48, mode, chunk=chunk))
    same(served.logits, alone(chunk=chunk))
    for request_id, pieces in served.chunks.items():
        length = sum(tokens for _, tokens in pieces)
        assert pieces == [(at, min(chunk, length - at)) for at in range(0, length, chunk)]
        assert length >= 1, request_id


def test_pieces_run_beside_decodes_that_stream() -> None:
    """What the test above is about really happens."""
    served = Served(server("static-1", 64, chunk=5))
    beside = [step for step, _ in served.steps if step.chunks and step.streams]
    assert any(chunk.start and chunk.streamed_layers for s in beside for chunk in s.chunks)


def around(page: int) -> tuple[tuple[int, int], ...]:
    """Prompts that end before, at and behind a page's end, outputs that cross the next ones."""
    prompts = (page - 1, page, page + 1, 2 * page)
    outputs = (2, page, page + 1, page + 2, 2 * page + 1)
    pairs = [(p, o) for o in outputs for p in prompts]
    return tuple(pairs[::3])


SIZES = [(2, 20), (2, 36), (4, 40), (8, 80), (16, 160)]


@pytest.mark.parametrize(("page", "tokens"), SIZES)
@pytest.mark.parametrize("policy", ["static-1", "dynamic", "orbitflow", "orbit"])
def test_pages_and_pools_of_any_size(policy: str, page: int, tokens: int) -> None:
    requests = workload(*around(page))
    served = Served(server(policy, tokens, requests=requests, page=page), requests)
    same(served.logits, alone(requests))


def test_the_sizes_bring_different_rings_and_moves() -> None:
    rings: set[int] = set()
    kinds: set[MoveKind] = set()
    for page, tokens in SIZES[:3]:
        requests = workload(*around(page))
        served = Served(server("dynamic", tokens, requests=requests, page=page), requests)
        rings |= {step.ring_pages for step, _ in served.steps if step.ring_pages}
        kinds |= served.kinds
    assert len(rings) > 1
    assert kinds >= {MoveKind.DEMOTE, MoveKind.PROMOTE}
