"""Whether a plan is what it claims to be, from the definitions, one request and layer at a time.

Nothing here is shared with the search, the ILP or their coefficients: a plan that a solver returns,
whatever its status says, is executed only if this finds nothing wrong with it.
"""

from __future__ import annotations

from orbitflow.machine.pipeline import Overlap
from orbitflow.planner.problem import REST, Choice, Problem
from orbitflow.planner.score import Score

TOLERANCE = 1e-6


def faults(problem: Problem, choice: Choice, claimed: Score) -> list[str]:
    """What is wrong with a plan; nothing if it may be executed."""
    if len(choice.options) != len(problem.requests):
        return [f"{len(choice.options)} options for {len(problem.requests)} requests"]
    known = range(len(problem.options))
    if strangers := [o for o in choice.options if o != REST and o not in known]:
        return [f"option {strangers[0]} does not exist"]
    found = []
    for request, option in zip(problem.requests, choice.options, strict=True):
        if option == REST and not request.may_rest:
            found.append(f"request {request.id} must not be parked")
    if all(option == REST for option in choice.options):
        found.append("nobody runs")
    if problem.is_uniform and len({o for o in choice.options if o != REST}) > 1:
        found.append("running requests have different placements")
    pages = _gpu_pages(problem, choice)
    if pages > problem.limits.gpu_pages:
        found.append(f"needs {pages} GPU pages of {problem.limits.gpu_pages}")
    expected = _pass_s(problem, choice)
    if abs(claimed.pass_s - expected) > TOLERANCE * max(1.0, expected):
        found.append(f"claims a pass of {claimed.pass_s:.6g} s, it takes {expected:.6g} s")
    return found


def _gpu_pages(problem: Problem, choice: Choice) -> int:
    """GPU pages at the end of the window, ring included."""
    limits, used = problem.limits, 0
    groups = dict.fromkeys(range(limits.layers), 0)
    for request, option in zip(problem.requests, choice.options, strict=True):
        if option == REST:
            continue
        tokens, host = request.context_tokens + problem.passes - 1, problem.options[option]
        used += (limits.layers - len(host)) * limits.pages(tokens) + len(host)
        for layer in host:
            groups[layer] += limits.full_pages(tokens)
    ring = 0 if limits.ring_is_extra else problem.ring_groups * max(groups.values())
    return used + ring


def _pass_s(problem: Problem, choice: Choice) -> float:
    """A pass in the middle of the window."""
    cost, limits = problem.cost, problem.limits
    contexts, streamed_s = [], [0.0] * limits.layers
    for request, option in zip(problem.requests, choice.options, strict=True):
        if option == REST:
            continue
        tokens = request.context_tokens + problem.passes // 2
        contexts.append(tokens)
        layer_s = cost.copy_s(cost.h2d, limits.full_pages(tokens) * cost.page_bytes)
        for layer in problem.options[option]:
            streamed_s[layer] += layer_s
    compute_s = cost.decode_pass_s(len(contexts), sum(contexts))
    link_s = sum(streamed_s)
    slowed_s = compute_s + cost.link_slowdown * link_s
    if problem.overlap is not Overlap.PAPER:
        return max(slowed_s, link_s)
    layer_s = max(0.0, compute_s - cost.decode.outside_s) / limits.layers
    behind_s = arrived_s = 0.0
    for layer, seconds in enumerate(streamed_s):
        arrived_s += seconds
        behind_s = max(behind_s, arrived_s - layer * layer_s)
    return slowed_s + behind_s
