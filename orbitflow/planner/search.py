"""The fast search: the answer at once where it can be proven, a good one with its gap elsewhere.

Few requests: every combination is scored. Many: for each number of requests at rest (least regret
first), all plans in which the running ones, in some order, have two levels,

    deep for the first s, shallow for the rest        for every pair of options and every s

from running sums. Memory forces S pages onto the host and X = S page_s, so X hardly depends on who
holds them; `relaxed` proves how much less any choice could stream. The ILP closes what is left.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.placement import RESIDENT
from orbitflow.planner.problem import FORGONE, REST, Choice, Problem
from orbitflow.planner.relaxed import least_streamed_pages
from orbitflow.planner.score import STEP, Score, score_all

MOST_TRIED = 20_000  # combinations that are scored one and all
FINALISTS = 8  # two-level plans of each order that are scored in full
PATIENCE = 3  # more requests at rest that are tried without gain
GOOD_ENOUGH = 0.05  # share of the least loss conceivable that is not worth trying for


class Found(NamedTuple):
    """A choice and what is known of it. `gap` bounds how much shorter T could be, as a share of T,
    among plans that are as good before T counts; None where nothing is proven.
    """

    choice: Choice
    score: Score
    gap: float | None


def search(problem: Problem) -> Found | None:
    """The best plan found; None if no plan fits."""
    requests, options = len(problem.requests), len(problem.options)
    resident = _all_resident(problem)
    if resident is not None:
        return resident
    if problem.is_uniform or (options + 1) ** requests <= MOST_TRIED:
        return _try_all(problem)
    return _two_levels(problem)


def _all_resident(problem: Problem) -> Found | None:
    """Everything on the GPU, if that fits and nobody is late: then nothing is better."""
    if RESIDENT not in problem.options:
        return None
    at = problem.options.index(RESIDENT)
    choice = Choice((at,) * len(problem.requests))
    scores = score_all(problem, np.array([choice.options], dtype=np.int64))
    if not scores.fits[0] or scores.late_tokens[0] > STEP:
        return None
    return Found(choice, scores.at(0), 0.0)


def _try_all(problem: Problem) -> Found | None:
    """Exact: every combination, or every run set and level where all share one."""
    options = range(len(problem.options))
    may_rest = [r.may_rest for r in problem.requests]
    if problem.is_uniform:
        runs = product(*((0, REST) if rests else (0,) for rests in may_rest))
        rows = [tuple(o if x != REST else REST for x in run) for run in runs for o in options]
        choices = np.array(rows, dtype=np.int64)
    else:
        axes = [np.array([REST, *options] if rests else [*options]) for rests in may_rest]
        grid = np.meshgrid(*axes, indexing="ij")
        choices = np.stack([axis.ravel() for axis in grid], axis=1).astype(np.int64)
    scores = score_all(problem, choices)
    row = scores.best()
    if row is None:
        return None
    return Found(Choice(tuple(choices[row].tolist())), scores.at(row), 0.0)


def _two_levels(problem: Problem) -> Found | None:
    """Heuristic, with a proof where nobody is late."""
    best: Found | None = None
    without_gain = 0
    least_late, forgone = _unavoidable_late(problem), FORGONE * problem.passes
    for resting in _rest_sets(problem):
        if best is not None:
            could_be = least_late + forgone * len(resting)
            if without_gain >= PATIENCE or best.score.loss <= could_be * (1 + GOOD_ENOUGH):
                break
        found = _best_of(problem, resting)
        if found is not None and (best is None or found.score.rank < best.score.rank):
            best, without_gain = found, 0
        elif best is not None:
            without_gain += 1
    if best is None or best.score.at_rest or best.score.late_tokens > STEP:
        return best
    least = max(best.score.compute_s, least_link_s(problem))
    return best._replace(gap=max(0.0, 1 - least / best.score.pass_s))


def _unavoidable_late(problem: Problem) -> float:
    """Late tokens of any plan: nobody's next token can come before one request's own compute."""
    terms = problem.terms
    first_s = terms.base_s + float(terms.compute_s.min())
    return float(np.maximum(0.0, (first_s - terms.due_s) / terms.tau_s).sum())


def least_link_s(problem: Problem) -> float:
    """Link seconds that no placement of all requests can go below in a pass."""
    terms = problem.terms
    if not len(terms.group_pages):
        return 0.0
    whole = int(terms.gpu_pages[:, 0].sum()) if problem.options[0] == RESIDENT else 0
    need = whole - terms.gpu_limit
    total = int(terms.group_pages.sum())
    pages = least_streamed_pages(problem.options, terms.charged_groups, need, total)
    per_page = (terms.layer_link_s / np.maximum(terms.group_pages, 1)).min()
    return float(pages * per_page)


def _rest_sets(problem: Problem) -> list[tuple[int, ...]]:
    """Who rests: as few as memory allows, then one more at a time, those first whose parking costs
    the fewest late tokens for the memory that it frees.
    """
    terms = problem.terms
    if problem.rest_order is None:
        span_s = problem.passes * (terms.base_s + float(terms.compute_s.sum()))
        regret = np.maximum(0.0, (span_s - terms.due_s) / terms.tau_s)
        price = (regret + 1e-3) / np.maximum(terms.gpu_pages[:, 0], 1)
        order = [r for r in np.argsort(price, kind="stable").tolist() if terms.may_rest[r]]
    else:
        order = list(problem.rest_order)
        fixed = [place for place, row in enumerate(order) if not terms.may_rest[row]]
        order = order[: fixed[0]] if fixed else order
    if len(order) == len(problem.requests):
        order = order[:-1]
    tails = terms.gpu_pages.min(axis=1)  # without any ring: less is never enough
    over = int(tails.sum()) - terms.gpu_limit
    freed = np.concatenate([[0], np.cumsum(tails[order])])
    least = int(np.searchsorted(freed, over)) if over > 0 else 0
    return [tuple(order[:count]) for count in range(least, len(order) + 1)]


def _best_of(problem: Problem, resting: tuple[int, ...]) -> Found | None:
    """The best two-level plan with these at rest: who has most on the host already goes deep first,
    or whoever has the most pages.
    """
    terms = problem.terms
    running = np.delete(np.arange(len(problem.requests)), resting)
    pages = terms.group_pages[running]
    on_host = np.array([len(problem.requests[r].host) for r in running.tolist()])
    orders = [running[np.lexsort((-pages, -on_host))]]
    if on_host.any():
        orders.append(running[np.argsort(-pages, kind="stable")])
    rows = [row for order in orders for row in _finalists(problem, order)]
    if not rows:
        return None
    choices = np.array(rows, dtype=np.int64)
    scores = score_all(problem, choices)
    row = scores.best()
    if row is None:
        return None
    return Found(Choice(tuple(choices[row].tolist())), scores.at(row), None)


def _finalists(problem: Problem, order: IntArray) -> list[list[int]]:
    """The two-level plans of one order that fit and keep the link busy for the least time.

    The deep level has room for all, the shallow one has not: other pairs only stream more.
    """
    terms = problem.terms
    gpu = _running_sums(terms.gpu_pages[order].T)
    pages = _running_sums(terms.group_pages[order])
    staged = terms.columns.max(axis=1) * pages[-1]
    uniform = gpu[:, -1] + terms.charged_groups * staged <= terms.gpu_limit
    roomy, tight = np.flatnonzero(uniform), np.flatnonzero(~uniform)
    if not len(roomy):
        return []
    if not len(tight):
        tight = roomy[:1]
    deep, shallow = np.repeat(roomy, len(tight)), np.tile(tight, len(roomy))
    link = _running_sums(terms.layer_link_s[order])
    loaded = _running_sums((terms.loaded[order] * terms.group_pages[order, None]).T)
    memory = gpu[deep] + (gpu[shallow, -1:] - gpu[shallow])
    largest = (
        terms.columns[deep, :, None] * pages + terms.columns[shallow, :, None] * (pages[-1] - pages)
    ).max(axis=1)
    fits = memory + terms.charged_groups * largest <= terms.gpu_limit
    hosted = terms.host_layers
    link_s = hosted[deep, None] * link + hosted[shallow, None] * (link[-1] - link)
    pass_s = np.maximum(terms.base_s + float(terms.compute_s[order].sum()), link_s)
    moved = loaded[deep] + (loaded[shallow, -1:] - loaded[shallow])
    pairs, splits = np.nonzero(fits)
    best = np.lexsort((moved[pairs, splits], pass_s[pairs, splits]))[:FINALISTS]
    chosen, at = pairs[best], splits[best]
    rows = np.full((len(best), len(problem.requests)), REST, dtype=np.int64)
    is_deep = np.arange(len(order)) < at[:, None]
    rows[:, order] = np.where(is_deep, deep[chosen, None], shallow[chosen, None])
    found: list[list[int]] = rows.tolist()
    return found


def _running_sums(rows: IntArray | FloatArray) -> FloatArray:
    """Sums of the first 0, 1, ... entries along the last axis."""
    sums = np.zeros((*rows.shape[:-1], rows.shape[-1] + 1))
    np.cumsum(rows, axis=-1, out=sums[..., 1:])
    return sums
