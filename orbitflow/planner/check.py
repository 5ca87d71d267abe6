"""Whether a plan is what it claims to be, from the definitions, one candidate and layer at a time.

Nothing here is shared with the search, the integer program or their coefficients: a plan that a
solver returns, whatever its status says, is executed only if this finds nothing wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator

from orbitflow.machine.pipeline import Overlap
from orbitflow.planner.problem import REST, Candidate, Problem
from orbitflow.planner.score import Score

TOLERANCE = 1e-6  # of a claim, relative, or absolute below 1


def faults(problem: Problem, options: tuple[int, ...], claimed: Score) -> list[str]:
    """What is wrong with a plan; nothing if it may be executed."""
    if len(options) != len(problem.candidates):
        return [f"{len(options)} options for {len(problem.candidates)} requests"]
    known = range(len(problem.host_layers))
    if strangers := [o for o in options if o != REST and o not in known]:
        return [f"option {strangers[0]} does not exist"]
    found = []
    for candidate, option in zip(problem.candidates, options, strict=True):
        if option == REST and not candidate.may_rest:
            found.append(f"request {candidate.id} must not be paused")
    if options and all(option == REST for option in options):
        found.append("nobody runs")
    if problem.is_uniform and len({o for o in options if o != REST}) > 1:
        found.append("running requests have different placements")
    in_order = [options[row] == REST for row in problem.rest_order or ()]
    if in_order != sorted(in_order, reverse=True):
        found.append("a request rests before one that is to rest first")
    pages = gpu_pages(problem, options)
    if pages > problem.limits.gpu_pages:
        found.append(f"needs {pages} GPU pages of {problem.limits.gpu_pages}")
    pass_s, first_s = pass_times(problem, options)
    for name, claim, truth in (
        ("GPU pages", claimed.gpu_pages, pages),
        ("seconds a pass", claimed.pass_s, pass_s),
        ("seconds in all", claimed.span_s, first_s + (problem.passes - 1) * pass_s),
        ("lost tokens", claimed.loss, loss(problem, options)),
    ):
        if not abs(claim - truth) <= TOLERANCE * max(1.0, abs(truth)):
            found.append(f"claims {claim:.6g} {name}, but has {truth:.6g}")
    return found


def gpu_pages(problem: Problem, options: tuple[int, ...]) -> int:
    """GPU pages at the window's end, the ring included."""
    limits, layers = problem.limits, problem.limits.layers
    used = streamed = largest = groups = 0
    for candidate, option in _running(problem, options):
        tokens = candidate.context_tokens + problem.passes - 1
        hosted = problem.host_layers[option]
        used += (layers - hosted) * limits.pages(tokens) + hosted
        if hosted:
            group = limits.full_pages(tokens)
            streamed += hosted * group
            largest = max(largest, group)
            groups += group
    if limits.ring_is_extra:
        return used
    if problem.placements is not None:
        return used + problem.ring_groups * groups
    return used - (-problem.ring_groups * (streamed + (layers - 1) * largest) // layers)


def pass_times(problem: Problem, options: tuple[int, ...]) -> tuple[float, float]:
    """Seconds of a pass and of the first one, as they are counted."""
    cost, layers = problem.cost, problem.limits.layers
    contexts, link_s, first_link_s = [], 0.0, 0.0
    for candidate, option in _running(problem, options):
        contexts.append(candidate.context_tokens + problem.passes // 2)
        layer_s = _layer_s(problem, candidate)
        link_s += problem.host_layers[option] * layer_s
        first_link_s += _crossing(problem, candidate, option) * layer_s
    compute_s = cost.decode_pass_s(len(contexts), sum(contexts))
    pass_s = compute_s + cost.link_slowdown * link_s
    if problem.overlap is Overlap.PAPER:
        layer_compute_s = max(0.0, compute_s - cost.decode.outside_s) / layers
        pass_s += max(0.0, link_s - (layers - 1) * layer_compute_s)
    pass_s = max(pass_s, link_s, problem.weights.least_pass_s)
    return pass_s, max(pass_s, first_link_s)


def loss(problem: Problem, options: tuple[int, ...]) -> float:
    """The loss, in tokens."""
    weights, more = problem.weights, problem.passes - 1
    pass_s, first_s = pass_times(problem, options)
    span_s = first_s + more * pass_s
    total = weights.second * span_s - weights.offset
    rows = zip(problem.candidates, options, weights.token_values, strict=True)
    for candidate, option, value in rows:
        layer_s, tbt_s = _layer_s(problem, candidate), candidate.tbt_limit_s
        if option == REST:
            back_s = problem.limits.layers * layer_s
            late = (span_s + back_s - candidate.due_s) / tbt_s
            total += problem.passes * value
        else:
            last = (span_s - candidate.due_s) / tbt_s - more
            late = max((first_s - candidate.due_s) / tbt_s, last)
        total += candidate.weight * max(0.0, late)
    return total


def _running(problem: Problem, options: tuple[int, ...]) -> Iterator[tuple[Candidate, int]]:
    pairs = zip(problem.candidates, options, strict=True)
    return ((candidate, option) for candidate, option in pairs if option != REST)


def _crossing(problem: Problem, candidate: Candidate, option: int) -> int:
    """Layers that cross the link in the first pass."""
    if problem.placements is None:
        return max(option, len(candidate.host))
    return len({*candidate.host, *problem.placements[option]})


def _layer_s(problem: Problem, candidate: Candidate) -> float:
    """Link seconds of one layer of a candidate, in the window's middle."""
    middle = candidate.context_tokens + problem.passes // 2
    copied = problem.limits.full_pages(middle) * problem.cost.page_bytes
    return problem.cost.copy_s(problem.cost.h2d, copied)
