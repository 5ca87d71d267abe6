"""The admission gate: nobody new while that would hurt those who are being read to.

A newcomer is let in only if, h tokens further on for everybody, all of them together still have a
pass in less than a share of the tightest tau, and if its prompt makes few tokens late:

    max(C, X) <= share tau,    sum over running r of (now + prefill - due_r) / tau_r <= HURT_TOKENS

h is half the mean output of finished requests: what one in mid-life has still to come. The share is
CLOSE_SHARE while the gate is open; once it has refused somebody it opens again at OPEN_SHARE, so
that it does not flutter. On an empty server everybody is welcome. Rate-aware admission is design
4.4's; arXiv 2601.10729 admits whenever blocks are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.placement import HostLayers

CLOSE_SHARE, OPEN_SHARE = 0.95, 0.9
FIRST_HORIZON_TOKENS = 256  # until somebody has finished


@dataclass(slots=True)
class Gate:
    """Remembers whether it is open, and how long outputs have been."""

    is_open: bool = True
    _finished: int = 0
    _output_tokens: int = 0

    def finished(self, output_tokens: int) -> None:
        """A request is over."""
        self._finished += 1
        self._output_tokens += output_tokens

    @property
    def horizon_tokens(self) -> int:
        """How far ahead to look."""
        if not self._finished:
            return FIRST_HORIZON_TOKENS
        return max(1, self._output_tokens // (2 * self._finished))

    def admits(self, pass_s: float | None, tau_s: float) -> bool:
        """Whether a pass of this length, None if memory forbids it, may come to be."""
        share = CLOSE_SHARE if self.is_open else OPEN_SHARE
        self.is_open = pass_s is not None and pass_s <= share * tau_s
        return self.is_open


def expected_pass_s(
    cost: CostModel,
    limits: KvLimits,
    contexts: IntArray,
    options: Sequence[HostLayers],
    ring_groups: int,
) -> float | None:
    """Time of a pass that streams what does not fit of these contexts; None if it cannot fit."""
    pages, groups = -(-contexts // limits.page_tokens), (contexts - 1) // limits.page_tokens
    compute_s = cost.decode_pass_s(len(contexts), int(contexts.sum()))
    over = limits.layers * int(pages.sum()) - limits.gpu_pages
    if over <= 0:
        return compute_s
    charged = 0 if limits.ring_is_extra else ring_groups
    freed = np.array([len(option) - charged for option in options if option], dtype=np.float64)
    hosted = np.array([len(option) for option in options if option], dtype=np.float64)
    if not len(freed) or over > freed.max() * int(groups.sum()):
        return None
    useful = freed > 0
    streamed = over * float((hosted[useful] / freed[useful]).min())
    page_s = cost.page_s
    return max(compute_s, streamed * page_s)
