"""`preempt-recompute` drops KV and prefills it again, in other pieces than it was made: its logits
are near those of serving alone, and its tokens are the same wherever the choice was clear.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

import torch
from reference.served import ROOMY, Logits, Served, alone, server
from reference.served_policy import Restless
from reference.stepped_channel import LinkMode

NEAR, CLEAR = 1e-4, 1e-3


def near(got: Logits, want: Logits) -> int:
    """Assert that logits are near up to the first choice that was not clear; count what was
    compared.
    """
    compared = 0
    assert got.keys() == want.keys()
    for request_id, rows in want.items():
        assert len(got[request_id]) == len(rows)
        for number, (a, b) in enumerate(zip(got[request_id], rows, strict=True)):
            where = f"request {request_id}, token {number}"
            torch.testing.assert_close(a, b, rtol=0, atol=NEAR, msg=where)
            compared += 1
            first, second = b.topk(2).values.tolist()
            if first - second > CLEAR:
                assert a.argmax() == b.argmax(), where
            elif a.argmax() != b.argmax():
                break
    return compared


def recomputed(served: Served) -> list[int]:
    """Requests whose prompts began more than once."""
    starts = {i: [start for start, _ in pieces] for i, pieces in served.chunks.items()}
    return [i for i, all_starts in starts.items() if all_starts.count(0) > 1]


@pytest.mark.parametrize(("tokens", "chunk"), [(40, 0), (48, 0), (48, 5), (40, 8)])
def test_dropped_kv_is_computed_again(tokens: int, chunk: int) -> None:
    served = Served(server("preempt-recompute", tokens, chunk=chunk))
    assert served.parks
    assert recomputed(served), "nothing was dropped and prefilled again"
    want = alone(chunk=chunk)
    assert near(served.logits, want) >= sum(map(len, want.values())) - 30


@pytest.mark.parametrize(("seed", "chunk"), [(0, 5), (1, 0), (2, 5)])
def test_kv_that_lies_anywhere_may_be_dropped_and_wanted_back_at_once(
    seed: int, chunk: int
) -> None:
    machine = server(Restless(seed, drops=True), ROOMY, LinkMode.MANUAL, seed=seed, chunk=chunk)
    served = Served(machine)
    assert recomputed(served)
    near(served.logits, alone(chunk=chunk))
