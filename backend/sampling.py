"""Which token comes next: the likeliest (greedy), so that equal logits give equal text.

token = argmax logits,   the lowest id among equals
"""

from __future__ import annotations

from torch import Tensor


def greedy(logits: Tensor) -> Tensor:
    """The likeliest token of each row: [M] of `logits` [M, V].

    `argmax` may name any of several equals on a GPU, so the first that reaches the maximum is
    looked for.
    """
    best = logits.max(dim=-1, keepdim=True).values
    return (logits == best).int().argmax(dim=-1) if logits.is_cuda else logits.argmax(dim=-1)
