"""Page copies, with neighbours in one run.

Page i of a list goes to page j of another; consecutive pairs (i, j), (i + 1, j + 1) are one
contiguous copy. Large runs are what makes a link fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from orbitflow.backend.link.channel import Copy


def runs(pages: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First page and length of each run of neighbours.

    >>> list(runs([4, 5, 6, 2, 9, 10]))
    [(4, 3), (2, 1), (9, 2)]
    """
    first = count = 0
    for page in pages:
        if count and page == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = page, 1
    if count:
        yield first, count


def page_copies(
    source: torch.Tensor, target: torch.Tensor, pairs: Iterable[tuple[int, int]]
) -> Iterator[Copy]:
    """Copies of the pages of `source` to those of `target` that they are paired with."""
    first: tuple[int, int] | None = None
    count = 0
    for pair in pairs:
        if first is not None and pair == (first[0] + count, first[1] + count):
            count += 1
            continue
        if first is not None:
            yield _run(source, target, first, count)
        first, count = pair, 1
    if first is not None:
        yield _run(source, target, first, count)


def _run(source: torch.Tensor, target: torch.Tensor, first: tuple[int, int], count: int) -> Copy:
    here, there = first
    return Copy(source[here : here + count], target[there : there + count])
