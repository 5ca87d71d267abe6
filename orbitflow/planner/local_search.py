"""Run sets of many candidates: greedy ones first, then uphill from the best of them.

Greedy: at some pass time, who gains most for its memory goes first,

    gain_r = weight_r (late if r rests - late if r runs) + W token_value_r - its share of the times

and of those as many run as lose least. Then, from the best plans, a few candidates of a core, those
whom the gain puts most in doubt, start or stop running, in every combination of few.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.planner.pool import PlanningOptions, Pool
from orbitflow.planner.problem import REST, BoolArray, Terms
from orbitflow.planner.score import Score, grains, lateness

GREEDY_TIMES = 4  # pass times at which the greedy order is asked
GREEDY_SHARES = (0.0, 0.5, 1.0)  # of its compute's price that a candidate is charged
GREEDY_SIZES = 16  # numbers of candidates that are tried of each order
ALL, CORE = 16, 14  # candidates up to which all are the core, and the core of more
FLIPS = 800  # combinations of the core that are bounded in a step, at most


def local_search(terms: Terms, pool: Pool, options: PlanningOptions) -> None:
    """Offer the pool run sets while they make its best plan better."""
    pool.offer(greedy(terms), lots=1)
    if pool.best is None:
        pool.offer(_fewest(terms))
    most = options.aside if len(terms.pages) <= ALL else options.aside_of_many
    aside = 0
    for _ in range(options.steps):
        before, start = pool.loss, pool.next_start()
        if start is None:
            break
        pool.offer(_near(terms, *start), lots=1)
        aside += not pool.loss < before
        if aside == most:
            break


def greedy(terms: Terms) -> BoolArray:
    """Run sets of shape (sets, n)."""
    count = len(terms.pages)
    low = terms.base_s + float(terms.compute_s.min())
    high = terms.base_s + float(terms.compute_s.sum())
    pass_s = low * (high / low) ** (np.arange(GREEDY_TIMES) / (GREEDY_TIMES - 1))
    span_s = terms.passes * pass_s
    gain, second = _gain(terms, pass_s, span_s)
    charged = terms.passes * second[:, None] * terms.compute_s
    gain = np.concatenate([gain - share * charged for share in GREEDY_SHARES])
    rate = np.where(terms.must_run, -np.inf, -grains(gain / (terms.pages + 1)))
    rank = np.argsort(np.argsort(rate, axis=1, kind="stable"), axis=1, kind="stable")
    sizes = min(count, GREEDY_SIZES)
    most = np.arange(sizes) * (count - 1) // max(sizes - 1, 1)
    found: BoolArray = rank[:, None, :] <= most[:, None]
    return found.reshape(-1, count)


def _gain(terms: Terms, pass_s: FloatArray, span_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What running gains over resting at such times, its way in charged as if nothing else crossed,
    shape (times, n), and what a second costs.
    """
    everybody = np.ones((len(pass_s), len(terms.pages)), dtype=np.bool_)
    runs = lateness(terms, everybody, pass_s, span_s)
    rests = lateness(terms, ~everybody, pass_s, span_s)
    second = terms.weights.second + (rests > 0) @ (terms.weight * terms.rate)
    gain = (rests - runs) * terms.weight + terms.forgone
    return gain - second[:, None] * (terms.absent * terms.link_s), second


def _fewest(terms: Terms) -> BoolArray:
    """Who must run; if nobody must, each alone. If none of these fits, nothing does."""
    if terms.must_run.any():
        return terms.must_run[None, :]
    runs: BoolArray = np.eye(len(terms.pages), dtype=np.bool_)
    return runs


def _near(terms: Terms, plan: tuple[int, ...], score: Score) -> BoolArray:
    """Run sets near a plan's, shape (sets, n)."""
    runs = np.array(plan) != REST
    core = _core(terms, runs, score)
    flips = _flips(len(core))
    found: BoolArray = np.repeat(runs[None, :], len(flips), axis=0)
    found[:, core] ^= flips
    return found


def _core(terms: Terms, runs: BoolArray, score: Score) -> IntArray:
    """Those who run for the least gain for their memory, and who rest for the most, half and half
    where there are as many.
    """
    leave, enter = np.flatnonzero(runs & ~terms.must_run), np.flatnonzero(~runs)
    if len(leave) + len(enter) > ALL:
        gain, second = _gain(terms, np.array([score.first_pass_s]), np.array([score.span_s]))
        charged = terms.passes * second[:, None] * terms.compute_s
        rate = grains((gain - charged)[0] / (terms.pages + 1))
        some = min(len(leave), max(CORE // 2, CORE - len(enter)))
        leave = leave[np.argsort(rate[leave], kind="stable")][:some]
        enter = enter[np.argsort(-rate[enter], kind="stable")][: CORE - some]
    core: IntArray = np.concatenate([leave, enter])
    return core


@lru_cache(maxsize=64)
def _flips(count: int) -> BoolArray:
    """Every choice of one of so many, of two, ... while there are at most FLIPS, shape (choices,
    count).
    """
    chosen: list[tuple[int, ...]] = []
    for size in range(1, count + 1):
        if len(chosen) + comb(count, size) > FLIPS:
            break
        chosen += combinations(range(count), size)
    flips = np.zeros((len(chosen), count), dtype=np.bool_)
    for row, members in enumerate(chosen):
        flips[row, list(members)] = True
    return flips
