"""The turn problem: for one window of W passes, who runs and how much of each stays on the host.

Streaming everybody, parking some and rotating them are corners of this one problem. A turn gives
each member r a number of host layers h_r = 0..L, or REST. Sums are over those that run, L layers,
F = full pages of one layer at the window's end (a tail page more while it is on the GPU), x_r the
link seconds of one layer and a_r the compute seconds in the window's middle, s the slow-down of
compute by a busy link, q the groups of the ring (0 where it comes on top of the pages):

    X  = sum h_r x_r                              link of a pass
    T  = max(base + sum a_r + s X, X, floor)      a pass, as it is counted
    T1 = max(T, sum max(h_r, absent_r) x_r)       the first: what is not on the GPU crosses once
    span = T1 + (W - 1) T
    late_r = max(0, (T1 - due_r) / tau_r, (span - due_r) / tau_r - (W - 1))     if r runs
             max(0, (span + L x_r - due_r) / tau_r)                             if r rests
    J  = sum_all weight_r late_r + lambda (rho span - W sum_run v_r)            to be minimised

    sum (L (F_r + 1) - h_r F_r) + q (sum h_r F_r / L + (1 - 1/L) max_{h_r > 0} F_r) <= GPU pages

Memory: with each member's host layers put where least is staged so far, no two layers' loads ever
differ by more than the largest F, so that the largest load is at most mean + (1 - 1/L) max F: the
ring term is safe wherever the layers end up, and depends on h alone.

What a token is worth: its share of a full machine, in seconds its own compute and its part of the
base by the memory that it takes, in tokens that over the mean v of all members,

    v_r = (a_r + base P_r / G) / v,    P_r = L (F_r + 1) its pages, G those of the GPU

so that serving the short ones first gains nothing: they are cheaper, and counted as such. lambda is
the value of an average token in late ones.

The price of time: no choice of members makes more than rho worth of tokens in a second. With s the
least link seconds of a page, sum_run P_r <= min(sum P_r, G + T / s), and T >= base + sum_run a_r:

    rho v = min(1 + base / (s G), sum P_r / G)                       if not all fit
            (sum a_r + base sum P_r / G) / (base + sum a_r)          if they do

The floor, f = FLOOR: a pass counts for no less than most of one of a full machine, or of a tau,

    floor = f min(base + min(1, G / sum P_r) sum a_r, min tau_r)

for a window of few members is over sooner, and would look better by all that the others have not
waited yet: one of seventy ran for a second, and again, while memory stood empty.

A window takes the machine for `span`; what could have been made in it and is not is charged. So J
is never negative, and windows of any length compare: to stream everybody pays by its slow passes,
to rotate by who is late. Without it, parking all but the most urgent would look free.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits

FLOOR = 0.8
REST = -1  # host layers of a member that does not run in the window

BoolArray = npt.NDArray[np.bool_]


class Member(NamedTuple):
    """One request that could run in the window.

    `due_s`: seconds from now until its reader wants the next token; below 0 if overdue, infinite
    for a newcomer. `weight`: what one late token of it counts. `absent`: layers whose KV is not on
    the GPU now, 0 to L.
    """

    id: int
    context_tokens: int  # in the window's first pass
    tau_s: float
    due_s: float
    weight: float
    absent: int
    may_rest: bool


class Turn(NamedTuple):
    """Host layers of each member, in the question's order; REST for who does not run."""

    host_layers: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """What the turn solver is asked: immutable, so that it can be solved beside the passes."""

    cost: CostModel
    limits: KvLimits
    ring_groups: int
    passes: int  # of the window, at least 1
    members: tuple[Member, ...]
    token_value: float = 0.2  # lambda: late tokens that a token not made counts for

    @cached_property
    def terms(self) -> Terms:
        """The coefficients of every formula above."""
        return _terms(self)


class Terms(NamedTuple):
    """Coefficients; arrays are of shape (n,), pages are whole numbers held as floats.

    Of late tokens `rate` is what a second adds, and what is there at second 0 is `first` of the
    first token, `runs` of the window's last if the member runs, and `rests` if it does not.
    """

    compute_s: FloatArray  # that a running member adds to a pass
    link_s: FloatArray  # of one host layer
    pages: FloatArray  # full pages of one layer at the window's end
    absent: FloatArray
    tau_s: FloatArray
    due_s: FloatArray
    weight: FloatArray
    must_run: BoolArray
    base_s: float
    slowdown: float
    layers: int
    ring: int  # groups charged to the GPU pages
    gpu_pages: int
    passes: int
    floor_s: float
    value: FloatArray  # lambda v_r: of one token, in late tokens
    price: float  # lambda rho: of one second, in late tokens
    rate: FloatArray
    first: FloatArray
    runs: FloatArray
    rests: FloatArray


def _terms(question: Question) -> Terms:
    cost, limits, passes = question.cost, question.limits, question.passes
    columns = list(zip(*question.members, strict=True)) or [()] * len(Member._fields)
    _, tokens, taus, dues, weights, absent, may_rest = columns
    contexts = np.array(tokens, dtype=np.float64)
    middle = contexts + passes // 2
    copied = (middle - 1) // limits.page_tokens * float(cost.page_bytes)
    speed = np.interp(copied, cost.h2d.run_bytes, cost.h2d.bytes_per_s)
    link_s = copied / speed + cost.h2d.latency_s * (copied > 0)
    tau_s, due_s = np.array(taus, dtype=np.float64), np.array(dues, dtype=np.float64)
    first = -due_s / tau_s
    terms = Terms(
        cost.decode.request_s + cost.decode.token_s * middle,
        link_s,
        (contexts + passes - 2) // limits.page_tokens,
        np.array(absent, dtype=np.float64),
        tau_s,
        due_s,
        np.array(weights, dtype=np.float64),
        ~np.array(may_rest, dtype=np.bool_),
        cost.decode.base_s,
        cost.link_slowdown,
        limits.layers,
        0 if limits.ring_is_extra else question.ring_groups,
        limits.gpu_pages,
        passes,
        0.0,
        np.zeros(0),
        0.0,
        1 / tau_s,
        first,
        first - (passes - 1),
        first + limits.layers * link_s / tau_s,
    )
    return _valued(terms, question.token_value) if question.members else terms


def _valued(terms: Terms, token_value: float) -> Terms:
    """With what tokens and seconds are worth, and the floor of a pass."""
    pages, base_s = terms.layers * (terms.pages + 1), terms.base_s
    gpu_pages = max(1, terms.gpu_pages)  # layers on their way may have taken it all: nobody fits
    value_s = terms.compute_s + base_s * pages / gpu_pages
    mean_s = float(value_s.mean())
    full, compute_s = float(pages.sum()) / gpu_pages, float(terms.compute_s.sum())
    if full <= 1:
        most = (compute_s + base_s * full) / (base_s + compute_s)
    else:
        page_s = float(
            np.where(terms.pages, terms.link_s / np.maximum(terms.pages, 1), np.inf).min()
        )
        most = min(1 + base_s / (page_s * gpu_pages), full) if page_s > 0 else full
    full_s = base_s + compute_s / max(1.0, full)
    return terms._replace(
        floor_s=FLOOR * min(full_s, float(terms.tau_s.min())),
        value=token_value * value_s / mean_s,
        price=token_value * most / mean_s,
    )
