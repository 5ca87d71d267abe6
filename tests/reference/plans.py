"""The planner's question answered by trying every combination, straight from the definitions.

Slow and obvious: one request, one layer, one token at a time. What the search and the ILP must
agree with.
"""

from __future__ import annotations

from itertools import product
from math import inf
from random import Random
from typing import NamedTuple

from orbitflow.machine.pipeline import Overlap
from strategies import Machine, small_machine

from orbitflow.placement import RESIDENT, stride
from orbitflow.planner.problem import FORGONE, REST, Asked, Problem, paper_options


class Worth(NamedTuple):
    """What counts, in the order in which it counts."""

    loss: float
    pass_s: float
    moved_pages: int


def worth(problem: Problem, options: tuple[int, ...]) -> Worth | None:
    """Worth of one combination; None if it does not fit or parks whom it must not."""
    limits, cost, layers = problem.limits, problem.cost, problem.limits.layers
    running = [(a, o) for a, o in zip(problem.requests, options, strict=True) if o != REST]
    if not running or (problem.is_uniform and len({o for _, o in running}) > 1):
        return None
    if any(o == REST and not a.may_rest for a, o in zip(problem.requests, options, strict=True)):
        return None
    resident = tails = 0
    staged, streamed, first = [0] * layers, [0.0] * layers, [0.0] * layers
    contexts, moved = [], 0
    for asked, option in running:
        end = asked.context_tokens + problem.passes - 1
        middle = asked.context_tokens + problem.passes // 2
        contexts.append(middle)
        copy_s = cost.copy_s(cost.h2d, limits.full_pages(middle) * cost.page_bytes)
        for layer in range(layers):
            on_host = layer in problem.options[option]
            if on_host:
                tails += 1
                staged[layer] += limits.full_pages(end)
                streamed[layer] += copy_s
            else:
                resident += limits.pages(end)
            if on_host or layer in asked.host:
                first[layer] += copy_s
            if layer in asked.host and not on_host:
                moved += limits.full_pages(end)
    ring = 0 if limits.ring_is_extra else problem.ring_groups * max(staged)
    if resident + tails + ring > limits.gpu_pages:
        return None
    compute_s = cost.decode_pass_s(len(contexts), sum(contexts))
    slowed_s = compute_s + cost.link_slowdown * sum(streamed)
    if problem.overlap is Overlap.PAPER:
        layer_s = (compute_s - cost.decode.outside_s) / layers
        arrived, stall = 0.0, 0.0
        for layer in range(layers):
            arrived += streamed[layer]
            if arrived:
                stall = max(stall, arrived - layer * layer_s)
        pass_s = slowed_s + stall
    else:
        pass_s = max(slowed_s, sum(streamed))
    late = _late(problem, options, pass_s, max(pass_s, sum(first)))
    return Worth(late + FORGONE * problem.passes * options.count(REST), pass_s, moved)


def _late(problem: Problem, options: tuple[int, ...], pass_s: float, first_s: float) -> float:
    """Tokens that readers miss until the window ends; each wants one at due, due + tau, ..."""
    late = 0.0
    span_s = first_s + (problem.passes - 1) * pass_s
    for asked, option in zip(problem.requests, options, strict=True):
        if asked.due_s == inf:
            continue
        behind = max(0.0, first_s - asked.due_s)
        if option == REST:
            middle = asked.context_tokens + problem.passes // 2
            size = problem.limits.full_pages(middle) * problem.cost.page_bytes
            back_s = problem.limits.layers * problem.cost.copy_s(problem.cost.h2d, size)
            behind = max(behind, span_s + back_s - asked.due_s)
        else:
            for k in range(problem.passes):
                behind = max(behind, first_s + k * pass_s - asked.due_s - k * asked.tau_s)
        late += behind / asked.tau_s
    return late


def best(problem: Problem) -> Worth | None:
    """The best of all combinations, times compared to the microsecond."""
    options = range(REST, len(problem.options))
    found = [w for c in product(options, repeat=len(problem.requests)) if (w := worth(problem, c))]
    return min(found, key=rounded, default=None)


def rounded(found: Worth) -> Worth:
    """To a millionth of a token and of a second, so that rounding decides nothing."""
    return found._replace(loss=round(found.loss, 6), pass_s=round(found.pass_s, 6))


def random_problem(seed: int, most_requests: int = 4) -> Problem:
    """A random question: tight or ample memory, readers ahead and behind, moves under way."""
    random = Random(seed)
    machine = random_machine(random)
    layers = machine.limits.layers
    overlap = random.choice((Overlap.RING, Overlap.RING, Overlap.PAPER))
    every = paper_options(layers)
    options = every if random.random() < 0.7 else (*every, stride(layers, 0))
    requests = []
    for index in range(random.randint(1, most_requests)):
        due_s = random.choice((inf, random.uniform(-0.2, 0.3), random.uniform(0, 3)))
        host = random.choice((RESIDENT, stride(layers, 0), stride(layers, 1), stride(layers, 2)))
        context = random.randint(1, 90)
        tau_s = random.choice((0.03, 0.05, 0.09))
        requests.append(Asked(index, context, tau_s, due_s, host, random.random() < 0.6))
    passes = random.choice((1, 4, 8, 9))
    uniform = random.random() < 0.2
    return Problem(
        machine.cost, machine.limits, overlap, 2, passes, tuple(requests), options, uniform
    )


def random_machine(random: Random) -> Machine:
    """One of the small machines of the property tests."""
    machine = small_machine(
        random.choice((60, 100, 160, 240)),
        link_bytes_per_s=random.choice((3.1e5, 3.1e6, 3.1e7)),
        link_slowdown=random.choice((0.0, 0.0, 0.13)),
        latency_s=random.choice((0.0, 1.7e-5)),
    )
    extra = random.random() < 0.2
    return machine._replace(limits=type(machine.limits)(
        machine.limits.layers, machine.limits.page_tokens, machine.limits.gpu_pages, None, extra
    ))  # fmt: skip
