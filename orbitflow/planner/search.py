"""The fast search: a good plan at once, and for few candidates a proof that none is much better.

Everybody on the GPU, nobody late and nothing to load: nothing is better. Nor where everybody runs
with the placements of now, and loses what they would if nothing crossed. If everybody runs and that
loses less than any plan in which somebody rests (`hosting.least_with_rest`), only options are to be
found. Else, few that may rest: every run set is bounded, the most promising ones get options
(`hosting`), and those that could still be better are searched depth first (`branch`). Many:
`local_search`, and a depth-first search of its best run sets. Of equal plans of placements the one
that moves least is taken.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.planner.hosting import least, least_with_rest, need
from orbitflow.planner.local_search import ALL, greedy, local_search
from orbitflow.planner.pool import DEFAULT, PlanningOptions, Pool
from orbitflow.planner.problem import REST, BoolArray, Problem, Terms
from orbitflow.planner.score import TIE, Score, gpu_pages, rounded, score, score_all, times_all

LATE = 1e-6  # tokens: less is rounding
SETTLED = 512  # plans that are compared to settle one, at most


class Found(NamedTuple):
    """Options that fit, what they are worth, and the least that any plan can lose; -inf where
    nothing is proven.
    """

    options: tuple[int, ...]
    score: Score
    bound: float

    @property
    def gap(self) -> float:
        """Share of its loss (of a token, if that is more) that a better plan could save at most."""
        return (self.score.loss - self.bound) / max(self.score.loss, 1.0)


def search(problem: Problem, options: PlanningOptions = DEFAULT) -> Found | None:
    """The best plan found; None if no plan fits."""
    terms = problem.terms
    resident = _all_resident(problem)
    if resident is not None:
        return resident
    if problem.is_uniform:
        return _uniform(problem, options.every_set)
    staying = _staying(problem)
    if staying is not None:
        return staying
    pool, bound = _everybody(terms, options)
    if pool is None:
        pool = Pool(terms, options)
        sets = _run_sets(problem, options.every_set)
        if sets is not None:
            pool.offer(sets)
            bound = pool.prove()
        else:
            local_search(terms, pool, options)
            few = len(terms.pages) <= ALL
            pool.polish(options.polished if few else options.polished_of_many)
    if pool.best is None or pool.score is None:
        return None
    plan, found = _settled(problem, pool.best, pool.score)
    return Found(plan, found, min(bound, found.loss))


def _staying(problem: Problem) -> Found | None:
    """Everybody where they are, if that fits and no plan loses less: none moves as few pages, and
    of those that move none, none streams less.
    """
    option_of = {host: at for at, host in enumerate(problem.placements or ())}
    options = tuple(option_of.get(one.host, REST) for one in problem.candidates)
    if REST in options:
        return None
    found = score(problem, options)
    if found is None:
        return None
    terms, nothing = problem.terms, np.zeros(1)
    everybody = np.ones((1, len(options)), dtype=np.bool_)
    low = float(times_all(terms, everybody, nothing, nothing).loss[0])
    if found.loss > low + TIE * max(1.0, abs(low)) or not least_with_rest(terms) > found.loss:
        return None
    return Found(options, found, found.loss)


def _everybody(terms: Terms, options: PlanningOptions) -> tuple[Pool | None, float]:
    """The best plan in which everybody runs, if there is one that loses less than any in which
    somebody rests, and what no plan loses less than; else None and -inf.
    """
    everybody = np.ones((1, len(terms.pages)), dtype=np.bool_)
    rested = least_with_rest(terms)
    if not rested > least(terms, everybody, need(terms, everybody))[0]:
        return None, -np.inf
    pool = Pool(terms, options)
    pool.offer(everybody)
    if pool.score is None or not rested > pool.loss + TIE * max(1.0, abs(pool.loss)):
        return None, -np.inf
    return pool, min(pool.prove(), rested)


def _settled(
    problem: Problem, options: tuple[int, ...], found: Score
) -> tuple[tuple[int, ...], Score]:
    """A plan of placements that loses no more, and of those the one that moves the fewest pages to
    stay, then the one that streams least: one candidate's placement is changed while that helps.
    """
    count = len(problem.placements or ())
    running = np.flatnonzero(np.array(options) != REST)
    if not count or problem.is_uniform or len(running) * count > SETTLED:
        return options, found
    plan = np.array(options)
    for _ in running:
        change = _best_change(problem.terms, plan, running)
        if change is None:
            break
        row, option = change
        plan[row] = option
    settled = tuple(plan.tolist())
    if settled == options:
        return options, found
    return settled, score_all(problem.terms, plan[None, :]).at(0)


def _best_change(terms: Terms, plan: IntArray, running: IntArray) -> tuple[int, int] | None:
    """The running candidate's new option that settles the plan furthest; None if none does.

    A change moves link seconds, pages and moved pages of one candidate alone, and the loss falls
    with neither X nor Y: what needs more of everything is left out before losses are computed.
    """
    now, columns = plan[running], np.arange(len(running))
    pages, layer_s = terms.pages[running, None], terms.link_s[running, None]
    crossing = terms.crossing[running]
    stay = terms.hosted[now]
    hosted = terms.hosted - stay[:, None]  # (running, options): more than now
    crossed = crossing - crossing[columns, now][:, None]
    rings = terms.ring_each * ((terms.hosted > 0) - (stay > 0)[:, None].astype(np.float64))
    runs = plan != REST
    used = gpu_pages(terms, runs[None, :], (terms.hosted[plan] * runs)[None, :])[0]
    link_s = stay @ terms.link_s[running] + hosted * layer_s
    first_s = crossing[columns, now] @ terms.link_s[running] + crossed * layer_s
    links, moved = rounded(link_s), (crossed - hosted) * pages
    link_now = links[0, now[0]]
    more = (hosted * layer_s >= 0) & (crossed * layer_s >= 0) & (moved >= 0)
    kept = ~(more & ((moved > 0) | (links > link_now)))
    kept[columns, now] = False
    kept &= used + (rings - hosted) * pages <= terms.gpu_pages
    if not kept.any():
        return None
    kept[0, now[0]] = True  # the plan as it is
    rows, options = np.nonzero(kept)
    times = times_all(
        terms, np.broadcast_to(runs, (len(rows), len(runs))), link_s[kept], first_s[kept]
    )
    at = int(np.lexsort((links[kept], moved[kept], np.rint(times.loss / LATE)))[0])
    row, option = int(running[rows[at]]), int(options[at])
    return None if plan[row] == option else (row, option)


def _all_resident(problem: Problem) -> Found | None:
    """Everything on the GPU, if that fits, nobody is late and nothing is waited for."""
    scores = score_all(problem.terms, np.zeros((1, len(problem.candidates)), dtype=np.int64))
    found = scores.at(0)
    waits = found.first_pass_s > found.pass_s
    if not scores.fits[0] or found.late_tokens > LATE or waits:
        return None
    return Found((0,) * len(problem.candidates), found, found.loss)


def _run_sets(problem: Problem, every_set: int) -> BoolArray | None:
    """All run sets that are allowed, shape (sets, n); None if they are too many."""
    terms = problem.terms
    if problem.rest_order is not None:
        order = list(problem.rest_order)
        runs: BoolArray = np.ones((len(order) + 1, len(terms.pages)), dtype=np.bool_)
        runs[:, order] = np.arange(len(order)) >= np.arange(len(order) + 1)[:, None]
        return runs
    free = np.flatnonzero(~terms.must_run)
    if len(free) > every_set:
        return None
    runs = np.ones((2 ** len(free), len(terms.pages)), dtype=np.bool_)
    numbers = np.arange(2 ** len(free))
    runs[:, free] = (numbers[:, None] >> np.arange(len(free))) & 1 == 1
    return runs


def _uniform(problem: Problem, every_set: int) -> Found | None:
    """Every option for all that run: exact, and proven, where every run set can be tried."""
    candidates, count = problem.candidates, len(problem.terms.hosted)
    is_exact = sum(one.may_rest for one in candidates) <= every_set
    runs = _every_uniform(problem) if is_exact else _some_uniform(problem.terms)
    if problem.rest_order is not None:
        in_order = runs[:, list(problem.rest_order)]
        runs = runs[(in_order[:, 1:] >= in_order[:, :-1]).all(axis=1)]
    shared = np.arange(count)[:, None]
    options = np.where(runs[:, None, :], shared, REST).reshape(-1, len(candidates))
    scores = score_all(problem.terms, options)
    at = scores.best()
    if at is None:
        return None
    bound = float(scores.loss[at]) if is_exact else -np.inf
    return Found(tuple(options[at].tolist()), scores.at(at), bound)


def _every_uniform(problem: Problem) -> BoolArray:
    """All run sets, shape (sets, n)."""
    sets = product(*((True, False) if one.may_rest else (True,) for one in problem.candidates))
    return np.array(list(sets), dtype=np.bool_)


def _some_uniform(terms: Terms) -> BoolArray:
    """Run sets in which the last candidates rest, as many as may, and greedy ones, as above."""
    free = np.flatnonzero(~terms.must_run)[::-1]
    runs = np.ones((len(free) + 1, len(terms.pages)), dtype=np.bool_)
    runs[:, free] = np.arange(len(free)) >= np.arange(len(free) + 1)[:, None]
    return np.concatenate([runs, greedy(terms)])
