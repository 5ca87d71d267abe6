"""How little any placement can stream: a linear relaxation with whole groups of requests as one.

Let m_o be the group pages of the requests that get option o (their sum is at most B, everybody's),
S = sum |o| m_o what leaves the GPU and is streamed, g the largest group. Memory asks for

    S - groups g >= need,     g >= sum_{o holding j} m_o for every layer j,     sum m_o <= B

where need = pages with everything resident - GPU pages. The least S is convex and piecewise linear
in need; each dual solution (u, v) proves S >= u need - v B for every need and B, so a few of them,
computed once per set of options, bound all problems.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from orbitflow.placement import HostLayers

_POINTS = 16  # needs, as shares of the most that the options can free, whose duals are kept


def least_streamed_pages(
    options: tuple[HostLayers, ...], groups: int, need_pages: int, group_pages: int
) -> float:
    """Lower bound on the pages streamed in a pass.

    `need_pages` must leave the GPU, `group_pages` is the sum of all requests' pages of one layer.
    """
    if need_pages <= 0:
        return 0.0
    bounds = [u * need_pages - v * group_pages for u, v in _supports(options, groups)]
    return max(float(need_pages), *bounds)


@lru_cache(maxsize=32)
def _supports(options: tuple[HostLayers, ...], groups: int) -> tuple[tuple[float, float], ...]:
    """Pairs (u, v) such that S >= u need - v B."""
    from scipy.optimize import linprog  # 0.7 s to import, and few problems come this far

    sizes = np.array([len(o) for o in options], dtype=np.float64)
    layers = sorted({j for o in options for j in o})
    if not layers:
        return ()
    members = np.array([[float(j in o) for o in options] for j in layers])
    count = len(options)
    cost = np.append(sizes, 0.0)
    memory = np.append(-sizes, float(groups))
    staged = np.hstack([members, -np.ones((len(layers), 1))])
    mass = np.append(np.ones(count), 0.0)
    rows = np.vstack([memory, mass, staged])
    most = _most_freed(sizes, members, groups)
    supports = []
    for share in np.linspace(0.02, 0.999, _POINTS).tolist():
        limits = np.concatenate([[-share * most, 1.0], np.zeros(len(layers))])
        solved = linprog(cost, A_ub=rows, b_ub=limits, method="highs")
        if solved.status == 0:
            duals = solved.ineqlin.marginals
            supports.append((float(-duals[0]), float(-duals[1])))
    return tuple(supports)


def _most_freed(sizes: np.ndarray, members: np.ndarray, groups: int) -> float:
    """What the single option that frees most frees, per group page."""
    return float((sizes - groups * members.max(axis=0)).max())
