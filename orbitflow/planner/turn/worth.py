"""What turns are worth: `question`'s formulas, for many turns at once.

The one place where the fast solver computes them. The MILP states them again as constraints, and
`check` once more, one member at a time, so that none has to be believed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.question import REST, Question, Terms, Turn

ROUNDING = 1e-9  # of pages times layers: whole numbers in floats, so that a sum is off by less
DIGITS = 36  # of 53
TIE = 1e-9  # what differs by less, of the largest or of a token, is equal


def ranked(values: FloatArray) -> IntArray:
    """The order from the least on; equal ones in order of place, whatever rounding made of them:
    numbers that agree in DIGITS binary digits are equal.
    """
    mantissa, exponent = np.frexp(values)
    order: IntArray = np.argsort(np.ldexp(np.rint(mantissa * 2.0**DIGITS), exponent), kind="stable")
    return order


def least_of(losses: FloatArray) -> int:
    """The first of the least losses; they are not all infinite."""
    least = np.minimum.reduce(losses)
    return int((losses <= least + TIE * max(1.0, least)).argmax())


class Worth(NamedTuple):
    """Worth of one turn. `loss` is J, in tokens: smaller is better."""

    loss: float
    late_tokens: float  # unweighted
    running: int
    pass_s: float
    first_pass_s: float
    span_s: float
    link_s: float
    gpu_pages: int  # at the window's end, ring included


class Worths(NamedTuple):
    """Worth of many turns, every array of shape (turns,)."""

    loss: FloatArray
    late_tokens: FloatArray
    running: IntArray
    pass_s: FloatArray
    first_pass_s: FloatArray
    span_s: FloatArray
    link_s: FloatArray
    gpu_pages: FloatArray
    fits: BoolArray

    def best(self) -> int | None:
        """The best that fits; None if none does."""
        if not self.fits.any():
            return None
        return least_of(np.where(self.fits, self.loss, np.inf))

    def at(self, row: int) -> Worth:
        """One of them."""
        return Worth(
            float(self.loss[row]),
            float(self.late_tokens[row]),
            int(self.running[row]),
            float(self.pass_s[row]),
            float(self.first_pass_s[row]),
            float(self.span_s[row]),
            float(self.link_s[row]),
            int(self.gpu_pages[row]),
        )


class Times(NamedTuple):
    """Seconds of a window, each of shape (turns,), and J with its late tokens."""

    pass_s: FloatArray
    first_s: FloatArray
    span_s: FloatArray
    late: FloatArray  # (turns, n)
    loss: FloatArray


def worth(question: Question, turn: Turn) -> Worth | None:
    """Worth of one turn; None if it does not fit or parks whom it must not."""
    worths = worth_all(question.terms, np.array([turn.host_layers], dtype=np.int64))
    return worths.at(0) if worths.fits[0] else None


def worth_all(terms: Terms, host_layers: IntArray) -> Worths:
    """Worth of turns of shape (turns, members)."""
    runs = host_layers != REST
    hosted = np.where(runs, host_layers, 0).astype(np.float64)
    link_s = hosted @ terms.link_s
    first_link_s = (np.maximum(hosted, terms.absent) * runs) @ terms.link_s
    times = times_all(terms, runs, link_s, first_link_s)
    pages = gpu_pages(terms, runs, hosted)
    count = runs.sum(axis=1)
    somebody = (count > 0) | (runs.shape[1] == 0)
    fits = (pages <= terms.gpu_pages) & somebody & (runs | ~terms.must_run).all(axis=1)
    return Worths(
        times.loss,
        times.late.sum(axis=1),
        count,
        times.pass_s,
        times.first_s,
        times.span_s,
        link_s,
        pages,
        fits,
    )


def times_all(
    terms: Terms,
    runs: BoolArray,
    link_s: FloatArray,
    first_link_s: FloatArray,
    least_span_s: FloatArray | None = None,
) -> Times:
    """Times and J of run sets of shape (turns, n) whose link is busy for so long in a pass, and
    in the first one; `least_span_s`: the window is known to take no less.
    """
    compute_s = terms.base_s + runs @ terms.compute_s
    pass_s = np.maximum(compute_s + terms.slowdown * link_s, link_s)
    pass_s = np.maximum(pass_s, terms.floor_s)
    first_s = np.maximum(pass_s, first_link_s)
    more = terms.passes - 1
    span_s = first_s + more * pass_s
    if least_span_s is not None:
        span_s = np.maximum(span_s, least_span_s)
    late = lateness(terms, runs, first_s, span_s)
    price = terms.price * span_s - terms.passes * (runs @ terms.value)
    return Times(pass_s, first_s, span_s, late, late @ terms.weight + price)


def lateness(terms: Terms, runs: BoolArray, first_s: FloatArray, span_s: FloatArray) -> FloatArray:
    """Late tokens of shape (turns, n)."""
    late = np.multiply.outer(span_s, terms.rate)
    late += np.where(runs, terms.runs, terms.rests)
    at_once = np.multiply.outer(first_s, terms.rate)  # less than the rest where r rests
    at_once += terms.first
    np.maximum(late, at_once, out=late)
    np.maximum(late, 0.0, out=late)
    return late


def gpu_pages(terms: Terms, runs: BoolArray, hosted: FloatArray) -> FloatArray:
    """GPU pages at the window's end, ring included; `hosted` is 0 where nobody runs."""
    streamed = hosted @ terms.pages
    largest = np.max(terms.pages * (hosted > 0), axis=1, initial=0.0)
    staged = terms.ring * (streamed + (terms.layers - 1) * largest)
    ring = np.ceil(staged / terms.layers - ROUNDING)
    whole: FloatArray = terms.layers * (runs @ (terms.pages + 1)) - streamed + ring
    return whole
