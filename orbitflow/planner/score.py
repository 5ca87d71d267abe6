"""What a choice is worth: `problem`'s formulas, for many choices at once.

The one place where the fast search computes them. The ILP states them again as constraints, and
`check` once more, layer by layer, so that none has to be believed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.machine.pipeline import Overlap
from orbitflow.planner.problem import FORGONE, REST, Choice, Problem

STEP = 1e-6  # of late tokens and of seconds: less is rounding, which must not decide


class Score(NamedTuple):
    """Worth of one choice. Smaller is better, from the first field to `link_s`."""

    loss: float
    pass_s: float
    moved_pages: int
    link_s: float
    late_tokens: float
    at_rest: int
    first_pass_s: float
    gpu_pages: int  # at the window's end, ring included
    compute_s: float

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """What choices are compared by; of equal ones the one that streams less."""
        steps = [round(value / STEP) for value in (self.loss, self.pass_s, self.link_s)]
        return steps[0], steps[1], self.moved_pages, steps[2]


class Scores(NamedTuple):
    """Worth of many choices, every array of shape (choices,)."""

    loss: FloatArray
    pass_s: FloatArray
    moved_pages: IntArray
    link_s: FloatArray
    late_tokens: FloatArray
    at_rest: IntArray
    first_pass_s: FloatArray
    gpu_pages: IntArray
    compute_s: FloatArray
    fits: npt.NDArray[np.bool_]

    def best(self) -> int | None:
        """The best that fits; None if none does."""
        rows = np.flatnonzero(self.fits)
        if not len(rows):
            return None
        keys = (
            np.round(self.link_s[rows] / STEP),
            self.moved_pages[rows],
            np.round(self.pass_s[rows] / STEP),
            np.round(self.loss[rows] / STEP),
        )
        return int(rows[np.lexsort(keys)[0]])

    def at(self, row: int) -> Score:
        """One of them."""
        return Score(
            float(self.loss[row]),
            float(self.pass_s[row]),
            int(self.moved_pages[row]),
            float(self.link_s[row]),
            float(self.late_tokens[row]),
            int(self.at_rest[row]),
            float(self.first_pass_s[row]),
            int(self.gpu_pages[row]),
            float(self.compute_s[row]),
        )


def score(problem: Problem, choice: Choice) -> Score | None:
    """Worth of one choice; None if it does not fit."""
    scores = score_all(problem, np.array([choice.options], dtype=np.int64))
    return scores.at(0) if scores.fits[0] else None


def score_all(problem: Problem, choices: IntArray) -> Scores:
    """Worth of choices of shape (choices, requests)."""
    terms, limits = problem.terms, problem.limits
    runs = choices != REST
    option = np.maximum(choices, 0)
    rows = np.arange(choices.shape[1])
    hosted = terms.host_layers[option] * runs
    compute = terms.base_s + runs @ terms.compute_s
    link = hosted @ terms.layer_link_s
    loaded = terms.loaded[rows, option] * runs
    first_link = link + loaded @ terms.layer_link_s
    staged = [(column[option] * runs) @ terms.group_pages for column in terms.columns.T]
    ring = terms.charged_groups * np.max(staged, axis=0)
    gpu = (terms.gpu_pages[rows, option] * runs).sum(axis=1) + ring
    slowed = compute + problem.cost.link_slowdown * link
    if problem.overlap is Overlap.PAPER:
        pass_s = slowed + _paper_stalls(problem, option, runs, compute)
    else:
        pass_s = np.maximum(slowed, link)
    first_s = np.maximum(pass_s, first_link)
    more = problem.passes - 1
    span = first_s + more * pass_s
    back_s = problem.limits.layers * terms.layer_link_s
    behind = (span[:, None] + ~runs * back_s - terms.due_s) / terms.tau_s - more * runs
    at_once = (first_s[:, None] - terms.due_s) / terms.tau_s
    late = np.maximum(0.0, np.maximum(behind, at_once)).sum(axis=1)
    rests = (~runs).sum(axis=1)
    allowed = ((terms.may_rest > 0) | runs).all(axis=1) & runs.any(axis=1)
    if problem.is_uniform:
        allowed &= _is_uniform(choices)
    if problem.rest_order is not None:
        in_order = runs[:, list(problem.rest_order)]
        allowed &= (in_order[:, 1:] >= in_order[:, :-1]).all(axis=1)
    return Scores(
        late + FORGONE * problem.passes * rests,
        pass_s,
        loaded @ terms.group_pages,
        link,
        late,
        rests,
        first_s,
        gpu,
        compute,
        allowed & (gpu <= limits.gpu_pages),
    )


def _paper_stalls(
    problem: Problem, option: IntArray, runs: npt.NDArray[np.bool_], compute_s: FloatArray
) -> FloatArray:
    """Stall in the paper's form, shape (choices,)."""
    terms, layers = problem.terms, problem.limits.layers
    by_layer = np.zeros((len(option), layers))
    for row in range(option.shape[1]):
        share = terms.members[option[:, row]] * runs[:, row, None]
        by_layer += share * terms.layer_link_s[row]
    layer_s = np.maximum(0.0, compute_s - problem.cost.decode.outside_s) / layers
    waits = np.cumsum(by_layer, axis=1) - np.arange(layers) * layer_s[:, None]
    stalls: FloatArray = np.maximum(0.0, waits.max(axis=1))
    return stalls


def _is_uniform(choices: IntArray) -> npt.NDArray[np.bool_]:
    highest = choices.max(axis=1, keepdims=True)
    same: npt.NDArray[np.bool_] = ((choices == highest) | (choices == REST)).all(axis=1)
    return same
