"""What the planner decides: who runs in the next window of W passes, and with how many host layers.

A plan gives every candidate r one option, a number h_r of its L layers on the host, or REST. Sums
are over those that run; at the END of the window F_r are the full pages of one layer of r (a layer
on the GPU has a tail page more), in its MIDDLE x_r are the link seconds of one host layer and a_r
the compute seconds that r adds to a pass; s is the slow-down of compute by a busy link:

    X  = sum h_r x_r                                   link of a pass
    T  = max(base + sum a_r + s X, X, least_pass)      a pass
    T1 = max(T, Y),  Y = sum crossing_r x_r            the first: what is not on the GPU crosses too
    span = T1 + (W - 1) T
    late_r = max(0, (T1 - due_r) / tbt_r, (span - due_r) / tbt_r - (W - 1))     if r runs
             max(0, (span + L x_r - due_r) / tbt_r)                             if r rests

    loss = sum over all weight_r late_r + second span
         + W sum over those at rest token_value_r - offset                      to be minimised

With the paper's pipeline, which starts every pass afresh, the link has C / L less time: T >= C + X
- (L - 1) t_c. Given who runs, the loss depends on X and Y alone, and falls with neither.

Memory, with q groups of staging ring (0 where it comes on top of the pages):

    sum (L (F_r + 1) - h_r F_r) + ring <= GPU pages
    ring = q sum over h_r > 0 of F_r                                     placements, as strides
    ring = q (sum h_r F_r / L + (1 - 1 / L) max over h_r > 0 of F_r)     layers spread out of phase

Both are safe: all strides may meet in one layer; and layers that are put where least is staged so
far (`placement.lay_out`) never differ by more than the largest F.

After arXiv 2601.10729, which caps violations and minimises T; here weights set what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT, HostLayers, stride, useful_distances

REST = -1  # the option of not running in the window

BoolArray = npt.NDArray[np.bool_]


class Candidate(NamedTuple):
    """A request that could run in the window.

    `due_s`: seconds from now until its next token is due; below 0 if overdue, infinite for one that
    has no reader yet. `weight`: what one late token of it counts. `host`: layers whose KV is not on
    the GPU now. `may_rest`: whether it may be paused.
    """

    id: int
    context_tokens: int  # in the window's first pass
    tbt_limit_s: float
    due_s: float
    host: HostLayers
    may_rest: bool
    weight: float = 1.0


class Weights(NamedTuple):
    """What counts in a plan besides late tokens, in late tokens.

    `least_pass_s`: a pass counts for no less.
    """

    token_values: tuple[float, ...]  # by candidate: of a token that it does not get made
    second: float = 0.0  # of a second of the window
    least_pass_s: float = 0.0
    offset: float = 0.0


@dataclass(frozen=True)
class Problem:
    """One planning problem: immutable, so that it can be solved beside the passes.

    `placements`: the host layers of each option, fewest first, RESIDENT the first; None allows any
    number of layers, 0 to L, spread out of phase. `is_uniform`: all that run share
    one placement. `rest_order`: rows; nobody rests before those named earlier.
    """

    cost: CostModel
    limits: KvLimits
    overlap: Overlap
    ring_groups: int
    passes: int  # of the window, at least 1
    candidates: tuple[Candidate, ...]
    placements: tuple[HostLayers, ...] | None
    weights: Weights
    is_uniform: bool = False
    rest_order: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.is_uniform and self.placements is None:
            raise ValueError("one option for all wants placements")

    @cached_property
    def terms(self) -> Terms:
        """The coefficients of every formula above."""
        return _terms(self)

    @cached_property
    def host_layers(self) -> tuple[int, ...]:
        """How many layers each option has on the host."""
        if self.placements is None:
            return tuple(range(self.limits.layers + 1))
        return tuple(len(placement) for placement in self.placements)


class Terms(NamedTuple):
    """Coefficients by candidate (n) and option (k); pages are whole numbers held as floats.

    Of late tokens `rate` is what a second adds, and what is there at second 0 is `first` of the
    first token, `runs` of the window's last if the candidate runs, and `rests` if it does not.
    """

    compute_s: FloatArray  # (n,) that a running candidate adds to a pass
    link_s: FloatArray  # (n,) of one host layer
    pages: FloatArray  # (n,) F
    hosted: FloatArray  # (k,) layers on the host, ascending from 0
    crossing: FloatArray  # (n, k) layers that cross in the first pass
    absent: FloatArray  # (n,) layers that are not on the GPU now
    rate: FloatArray
    first: FloatArray
    runs: FloatArray
    rests: FloatArray
    weight: FloatArray
    forgone: FloatArray  # (n,) W token_value
    must_run: BoolArray
    base_s: float
    outside_s: float  # of base_s, what belongs to no layer
    slowdown: float
    restarts: bool  # the pipeline starts every pass afresh
    layers: int
    passes: int
    gpu_pages: int
    ring_spread: int  # q where layers are spread, else 0
    ring_each: int  # q where placements may coincide, else 0
    weights: Weights


def paper_options(layers: int) -> tuple[HostLayers, ...]:
    """Nothing on the host, or one useful stride: at most every second layer (arXiv 2601.10729)."""
    return (RESIDENT, *(stride(layers, d) for d in useful_distances(layers)))


def _terms(problem: Problem) -> Terms:
    cost, limits, passes = problem.cost, problem.limits, problem.passes
    columns = list(zip(*problem.candidates, strict=True)) or [()] * len(Candidate._fields)
    _, tokens, tbt_limits, dues, hosts, may_rest, weights = columns
    contexts = np.array(tokens, dtype=np.float64)
    middle = contexts + passes // 2
    copied = (middle - 1) // limits.page_tokens * float(cost.page_bytes)
    speed = np.interp(copied, cost.h2d.run_bytes, cost.h2d.bytes_per_s)
    link_s = copied / speed + cost.h2d.latency_s * (copied > 0)
    tbt_limit_s = np.array(tbt_limits, dtype=np.float64)
    first = -np.array(dues, dtype=np.float64) / tbt_limit_s
    absent = np.array([len(host) for host in hosts], dtype=np.float64)
    hosted = np.array(problem.host_layers, dtype=np.float64)
    if problem.placements is None:
        crossing = np.maximum(hosted, absent[:, None])
    else:
        loaded = [_loaded(host, problem.placements) for host in hosts]
        crossing = hosted + np.array(loaded, dtype=np.float64).reshape(len(hosts), len(hosted))
    ring = 0 if limits.ring_is_extra else problem.ring_groups
    return Terms(
        cost.decode.request_s + cost.decode.token_s * middle,
        link_s,
        (contexts + passes - 2) // limits.page_tokens,
        hosted,
        crossing,
        absent,
        1 / tbt_limit_s,
        first,
        first - (passes - 1),
        first + limits.layers * link_s / tbt_limit_s,
        np.array(weights, dtype=np.float64),
        passes * np.array(problem.weights.token_values, dtype=np.float64),
        ~np.array(may_rest, dtype=np.bool_),
        cost.decode.base_s,
        cost.decode.outside_s,
        cost.link_slowdown,
        problem.overlap is Overlap.PAPER,
        limits.layers,
        passes,
        limits.gpu_pages,
        ring if problem.placements is None else 0,
        0 if problem.placements is None else ring,
        problem.weights,
    )


@lru_cache(maxsize=4096)
def _loaded(host: HostLayers, placements: tuple[HostLayers, ...]) -> tuple[int, ...]:
    """How many of these layers each placement loads to stay."""
    return tuple(len(set(host) - set(placement)) for placement in placements)
