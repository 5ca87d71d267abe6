"""Windows from growth: as long as the placement fits, and not a pass longer."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.memory import KvLimits, longest_window, pages_at_end
from orbitflow.placement import RESIDENT, stride

LIMITS = KvLimits(6, 4, 60)


def test_by_hand() -> None:
    # One request of context 5, all resident, pages of 4: 60 pages are 10 in each of 6 layers, so 40
    # tokens fit, the 36th pass's included.
    assert longest_window(LIMITS, np.array([5]), [RESIDENT], 2, 100) == 36
    # Every layer on the host: 6 tails and a ring of 2 groups of full pages; 27 of them fit, and the
    # 28th is full once 112 tokens are behind: context 113, pass 109.
    assert longest_window(LIMITS, np.array([5]), [stride(6, 0)], 2, 1000) == 108


@given(
    contexts=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    strides=st.lists(st.integers(0, 7), min_size=4, max_size=4),
    extra=st.booleans(),
)
def test_fits_for_the_window_and_not_for_one_pass_more(
    contexts: list[int], strides: list[int], extra: bool
) -> None:
    limits = KvLimits(6, 4, 150, None, extra)
    placed = [stride(6, d) for d in strides[: len(contexts)]]
    window = longest_window(limits, np.array(contexts), placed, 2, 64)

    def needs(passes: int) -> int:
        groups = [0] * 6
        pages = 0
        for context, layers in zip(contexts, placed, strict=True):
            end = context + passes - 1
            for layer in range(6):
                pages += 1 if layer in layers else limits.pages(end)
                groups[layer] += limits.full_pages(end) if layer in layers else 0
        return pages + (0 if extra else 2 * max(groups))

    for passes in (1, max(1, window), window + 1):
        assert pages_at_end(limits, np.array(contexts), placed, 2, passes) == needs(passes)
    if window:
        assert needs(window) <= limits.gpu_pages
    if window < 64:
        assert needs(window + 1) > limits.gpu_pages
