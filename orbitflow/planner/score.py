"""What plans are worth: `problem`'s formulas, for many plans at once.

The one place where the search computes them. The integer program states them again as rows, and
`check` once more, one candidate at a time, so that none has to be believed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.planner.problem import REST, BoolArray, Problem, Terms

ROUNDING = 1e-9  # of pages times layers: whole numbers in floats, so that a sum is off by less
GRAIN = 2.0**-36  # of a token: sums of many are off by less
TIE = 1e-9  # what differs by less, of the larger or of a token, is equal


class Score(NamedTuple):
    """Worth of one plan. `loss` is in tokens: smaller is better."""

    loss: float
    late_tokens: float  # unweighted
    running: int
    pass_s: float
    first_pass_s: float
    span_s: float
    link_s: float  # of a pass
    moved_pages: int  # that are loaded to stay on the GPU
    gpu_pages: int  # at the window's end, ring included


class Scores(NamedTuple):
    """Worth of many plans, every array of shape (plans,)."""

    loss: FloatArray
    late_tokens: FloatArray
    running: IntArray
    pass_s: FloatArray
    first_pass_s: FloatArray
    span_s: FloatArray
    link_s: FloatArray
    moved_pages: FloatArray
    gpu_pages: FloatArray
    fits: BoolArray

    def best(self) -> int | None:
        """The best that fits; None if none does."""
        if not self.fits.any():
            return None
        return least_of(np.where(self.fits, self.loss, np.inf))

    def at(self, row: int) -> Score:
        """One of them."""
        return Score(
            float(self.loss[row]),
            float(self.late_tokens[row]),
            int(self.running[row]),
            float(self.pass_s[row]),
            float(self.first_pass_s[row]),
            float(self.span_s[row]),
            float(self.link_s[row]),
            int(self.moved_pages[row]),
            int(self.gpu_pages[row]),
        )


class Times(NamedTuple):
    """Seconds of a window, each of shape (plans,), and the loss with its late tokens."""

    pass_s: FloatArray
    first_s: FloatArray
    span_s: FloatArray
    late: FloatArray  # (plans, n)
    loss: FloatArray


def least_of(losses: FloatArray) -> int:
    """The first of the least losses; they are not all infinite."""
    least = np.minimum.reduce(losses)
    return int((losses <= least + TIE * max(1.0, abs(least))).argmax())


def rounded(values: FloatArray) -> FloatArray:
    """Seconds to 36 of 53 binary digits, so that rounding does not order what is equal."""
    mantissa, exponent = np.frexp(values)
    found: FloatArray = np.ldexp(np.rint(mantissa * 2.0**36), exponent - 36)
    return found


def grains(tokens: FloatArray) -> FloatArray:
    """Tokens in steps of GRAIN, for the same reason; infinite ones stay so."""
    found: FloatArray = np.rint(tokens / GRAIN)
    return found


def score(problem: Problem, options: tuple[int, ...]) -> Score | None:
    """Worth of one plan; None if it does not fit or pauses whom it must not."""
    scores = score_all(problem.terms, np.array([options], dtype=np.int64))
    allowed = bool(scores.fits[0]) and _is_allowed(problem, options)
    return scores.at(0) if allowed else None


def score_all(terms: Terms, options: IntArray) -> Scores:
    """Worth of plans of shape (plans, n), whether or not the options' order and kinds are free."""
    runs = options != REST
    option = np.maximum(options, 0)
    hosted = terms.hosted[option] * runs
    crossing = terms.crossing[np.arange(options.shape[1]), option] * runs
    link_s = hosted @ terms.link_s
    times = times_all(terms, runs, link_s, crossing @ terms.link_s)
    pages = gpu_pages(terms, runs, hosted)
    count = runs.sum(axis=1)
    somebody = (count > 0) | (runs.shape[1] == 0)
    return Scores(
        times.loss,
        times.late.sum(axis=1),
        count,
        times.pass_s,
        times.first_s,
        times.span_s,
        link_s,
        (crossing - hosted) @ terms.pages,
        pages,
        (pages <= terms.gpu_pages) & somebody & (runs | ~terms.must_run).all(axis=1),
    )


def times_all(
    terms: Terms,
    runs: BoolArray,
    link_s: FloatArray,
    first_link_s: FloatArray,
    least_span_s: FloatArray | None = None,
) -> Times:
    """Times and loss of run sets of shape (plans, n) whose link is busy for so long in a pass, and
    in the first one; `least_span_s`: the window is known to take no less.
    """
    compute_s = terms.base_s + runs @ terms.compute_s
    pass_s = compute_s + terms.slowdown * link_s
    if terms.restarts:
        behind_s = np.maximum(0.0, compute_s - terms.outside_s) * (1 - 1 / terms.layers)
        pass_s = pass_s + np.maximum(0.0, link_s - behind_s)
    pass_s = np.maximum(np.maximum(pass_s, link_s), terms.weights.least_pass_s)
    first_s = np.maximum(pass_s, first_link_s)
    more = terms.passes - 1
    span_s = first_s + more * pass_s
    if least_span_s is not None:
        span_s = np.maximum(span_s, least_span_s)
    late = lateness(terms, runs, first_s, span_s)
    price = terms.weights.second * span_s + ~runs @ terms.forgone - terms.weights.offset
    return Times(pass_s, first_s, span_s, late, late @ terms.weight + price)


def lateness(terms: Terms, runs: BoolArray, first_s: FloatArray, span_s: FloatArray) -> FloatArray:
    """Late tokens of shape (plans, n)."""
    late = np.multiply.outer(span_s, terms.rate)
    late += np.where(runs, terms.runs, terms.rests)
    at_once = np.multiply.outer(first_s, terms.rate)  # less than the rest where r rests
    at_once += terms.first
    np.maximum(late, at_once, out=late)
    np.maximum(late, 0.0, out=late)
    return late


def gpu_pages(terms: Terms, runs: BoolArray, hosted: FloatArray) -> FloatArray:
    """GPU pages at the window's end, ring included; `hosted` is 0 where nobody runs."""
    streamed, streams = hosted @ terms.pages, hosted > 0
    whole: FloatArray = terms.layers * (runs @ (terms.pages + 1)) - streamed
    if terms.ring_spread:
        largest = np.max(terms.pages * streams, axis=1, initial=0.0)
        staged = terms.ring_spread * (streamed + (terms.layers - 1) * largest)
        whole += np.ceil(staged / terms.layers - ROUNDING)
    if terms.ring_each:
        whole += terms.ring_each * (streams @ terms.pages)
    return whole


def _is_allowed(problem: Problem, options: tuple[int, ...]) -> bool:
    """Whether a plan keeps to one option for all, and to the order of rest, where it must."""
    if problem.is_uniform and len({o for o in options if o != REST}) > 1:
        return False
    rests = [options[row] == REST for row in problem.rest_order or ()]
    return rests == sorted(rests, reverse=True)
