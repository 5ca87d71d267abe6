"""What a planner is asked, and what it may answer.

A choice gives every request one option: a placement (host layers), or rest (parked until the window
ends). With y the choice, W the window's passes, x_r the link seconds of one layer of r:

    C  = base + sum over running r of (request + token c_r)     compute of a pass
    X  = sum over running r of |host_r| x_r                     link of a pass
    T  = max(C, X)                                              ring: prefetch runs on
    T  = C + max(0, max_j (X_j - j t_c))                        paper: X_j up to layer j
    T1 = max(T, X + what is loaded to stay)                     the window's first pass
    late_r = max(0, (T1 + (W - 1) T + rest_r L x_r - due_r) / tau_r - (W - 1) run_r,
                 (T1 - due_r) / tau_r)                          who rests must be brought back

and, at the END of the window, with A = pages and F = full pages of one layer,

    sum over running r of ((L - |host_r|) A_r + |host_r|)
        + groups max_j sum_{r: j in host_r} F_r <= GPU pages

Wanted, in this order: little loss, a short T, few pages moved to stay, little streamed, where

    loss = sum_r late_r + FORGONE W (number at rest)

prices the tokens that those at rest do not get made: without it a plan parks everybody who has a
balance to save a fraction of somebody's token. Design 4.1, after arXiv 2601.10729, which caps
violations and minimises T. Times are taken at the middle of the window. A busy link's slow-down s
counts as C + s X, too much where X > C.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT, HostLayers, stride, useful_distances

REST = -1  # the option of being parked
FORGONE = 0.05  # late tokens that a token not made by a request at rest counts for


class Asked(NamedTuple):
    """One request as the planner sees it.

    `due_s`: seconds from now until its reader wants the next token, below 0 if it is overdue.
    `host`: where its KV is. `may_rest`: whether it may be parked.
    """

    id: int
    context_tokens: int  # in the window's first pass
    tau_s: float
    due_s: float
    host: HostLayers
    may_rest: bool


@dataclass(frozen=True)
class Problem:
    """A question: immutable, so that it can be solved beside the passes."""

    cost: CostModel
    limits: KvLimits
    overlap: Overlap
    ring_groups: int
    passes: int  # of the window
    requests: tuple[Asked, ...]
    options: tuple[HostLayers, ...]
    is_uniform: bool = False  # whether all that run share one option
    rest_order: tuple[int, ...] | None = None  # rows; nobody rests before those named earlier

    @cached_property
    def terms(self) -> Terms:
        """The coefficients of every formula above."""
        return _terms(self)


class Terms(NamedTuple):
    """Coefficients by request (n), option (k) and layer (L)."""

    compute_s: FloatArray  # (n,) that a running request adds to a pass
    base_s: float
    gpu_pages: IntArray  # (n, k) at the end of the window
    group_pages: IntArray  # (n,) of one host layer, at the end of the window
    layer_link_s: FloatArray  # (n,) of one host layer, at the middle of it
    host_layers: IntArray  # (k,) how many
    columns: IntArray  # (k, m) membership of the layers whose groups can be the largest
    members: IntArray  # (k, L) membership of every layer
    loaded: IntArray  # (n, k) layers that are loaded to stay
    tau_s: FloatArray
    due_s: FloatArray
    may_rest: FloatArray  # 1 or 0
    gpu_limit: int
    charged_groups: int


class Choice(NamedTuple):
    """An option by request, in the problem's order; REST for who is parked."""

    options: tuple[int, ...]

    def runs(self, row: int) -> bool:
        """Whether that request runs."""
        return self.options[row] != REST


def paper_options(layers: int) -> tuple[HostLayers, ...]:
    """Nothing on the host, or one useful stride: at most every second layer (arXiv 2601.10729)."""
    return (RESIDENT, *(stride(layers, d) for d in useful_distances(layers)))


def _terms(problem: Problem) -> Terms:
    cost, limits, layers = problem.cost, problem.limits, problem.limits.layers
    requests, options = problem.requests, problem.options
    contexts = np.array([r.context_tokens for r in requests], dtype=np.int64)
    at_end, middle = contexts + problem.passes - 1, contexts + problem.passes // 2
    pages, full = -(-at_end // limits.page_tokens), (at_end - 1) // limits.page_tokens
    hosted = np.array([len(o) for o in options], dtype=np.int64)
    members, columns = _membership(options, layers)
    copied = (middle - 1) // limits.page_tokens * float(cost.page_bytes)
    rate = np.interp(copied, cost.h2d.run_bytes, cost.h2d.bytes_per_s)
    compute = cost.decode.request_s + cost.decode.token_s * middle.astype(np.float64)
    return Terms(
        compute,
        cost.decode.base_s,
        (layers - hosted)[None, :] * pages[:, None] + hosted[None, :],
        full,
        copied / rate + cost.h2d.latency_s * (copied > 0),
        hosted,
        columns,
        members,
        np.array([_loaded(r.host, options) for r in requests], dtype=np.int64),
        np.array([r.tau_s for r in requests]),
        np.array([r.due_s for r in requests]),
        np.array([float(r.may_rest) for r in requests]),
        limits.gpu_pages,
        0 if limits.ring_is_extra else problem.ring_groups,
    )


@lru_cache(maxsize=64)
def _membership(options: tuple[HostLayers, ...], layers: int) -> tuple[IntArray, IntArray]:
    """Which layers each option has on the host, (k, L); and of these columns only those of layers
    that can have the largest group: options of every layer left out are options of one kept.
    """
    members = np.array([[j in o for j in range(layers)] for o in options], dtype=np.int64)
    columns = np.unique(members, axis=1)
    covers = np.all(columns[:, :, None] >= columns[:, None, :], axis=0)  # (i, j): i covers j
    others = covers & ~np.eye(columns.shape[1], dtype=bool)
    return members, columns[:, ~others.any(axis=0)]


@lru_cache(maxsize=4096)
def _loaded(host: HostLayers, options: tuple[HostLayers, ...]) -> tuple[int, ...]:
    """How many layers each option loads to stay."""
    return tuple(len(set(host) - set(o)) for o in options)
