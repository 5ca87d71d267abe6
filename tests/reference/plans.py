"""The planning problem answered by trying every plan, straight from the definitions.

Slow and obvious: one request, one layer, one token at a time. What the search, its bounds and the
integer program must agree with; and random problems to try them on.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import ceil, inf
from random import Random

from strategies import Machine, small_machine

from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT, HostLayers, stride
from orbitflow.planner.problem import REST, Candidate, Problem, paper_options
from orbitflow.policy.orbit.prices import prices
from orbitflow.policy.orbitflow.options import DEFAULT
from reference.lines import lines

PROFILES = ("a5000-llama3-8b-paper", "h100-roofline", "a6000x4-llama3-70b-paper")


def loss(problem: Problem, options: tuple[int, ...]) -> float | None:
    """The loss of one plan; None if it does not fit or pauses whom it must not."""
    limits, cost, layers = problem.limits, problem.cost, problem.limits.layers
    running = [(c, o) for c, o in zip(problem.candidates, options, strict=True) if o != REST]
    if not running or (problem.is_uniform and len({o for _, o in running}) > 1):
        return None
    if any(o == REST and not c.may_rest for c, o in zip(problem.candidates, options, strict=True)):
        return None
    used = hosted_pages = largest = 0
    contexts, link_s, first_s, staged = [], 0.0, 0.0, 0
    for candidate, option in running:
        end = candidate.context_tokens + problem.passes - 1
        middle = candidate.context_tokens + problem.passes // 2
        contexts.append(middle)
        copy_s = cost.copy_s(cost.h2d, limits.full_pages(middle) * cost.page_bytes)
        on_host = host_layers(problem, candidate, option)
        group = limits.full_pages(end)
        staged += group if on_host else 0
        for layer in range(layers):
            if layer in on_host:
                used += 1
                hosted_pages += group
                largest = max(largest, group)
                link_s += copy_s
            else:
                used += limits.pages(end)
            first_s += copy_s if layer in on_host or layer in candidate.host else 0.0
    if not limits.ring_is_extra:
        if problem.placements is None:
            staged = ceil(
                problem.ring_groups * (hosted_pages + (layers - 1) * largest) / layers - 1e-9
            )
            used += staged
        else:
            used += problem.ring_groups * staged
    if used > limits.gpu_pages:
        return None
    compute_s = cost.decode_pass_s(len(contexts), sum(contexts))
    pass_s = compute_s + cost.link_slowdown * link_s
    if problem.overlap is Overlap.PAPER:
        layer_s = max(0.0, compute_s - lines(cost).decode.outside_s) / layers
        pass_s += max(0.0, link_s - sum(layer_s for _ in range(layers - 1)))
    pass_s = max(pass_s, link_s, problem.weights.least_pass_s)
    return _loss(problem, options, pass_s, link_s, first_s)


def host_layers(problem: Problem, candidate: Candidate, option: int) -> set[int]:
    """Host layers of an option; where any may be taken, those that are there already first."""
    if problem.placements is not None:
        return set(problem.placements[option])
    others = [j for j in range(problem.limits.layers) if j not in candidate.host]
    return set([*candidate.host, *others][:option])


def _loss(
    problem: Problem, options: tuple[int, ...], pass_s: float, link_s: float, crossing_s: float
) -> float:
    """One token is due at due, due + limit, ... of each."""
    weights, more = problem.weights, problem.passes - 1
    first_s = max(pass_s, crossing_s)
    span_s = first_s + more * pass_s
    total = weights.second * span_s
    for row, (candidate, option) in enumerate(zip(problem.candidates, options, strict=True)):
        if option == REST:
            total += problem.passes * weights.token_values[row]
        if candidate.due_s == inf:
            continue
        behind_s = max(0.0, first_s - candidate.due_s)
        if option == REST:
            middle = candidate.context_tokens + problem.passes // 2
            size = problem.limits.full_pages(middle) * problem.cost.page_bytes
            back_s = problem.limits.layers * problem.cost.copy_s(problem.cost.h2d, size)
            behind_s = max(0.0, span_s + back_s - candidate.due_s)
        else:
            for k in range(problem.passes):
                due_s = candidate.due_s + k * candidate.tbt_limit_s
                behind_s = max(behind_s, first_s + k * pass_s - due_s)
        total += candidate.weight * behind_s / candidate.tbt_limit_s
    return total - weights.offset


def best_loss(problem: Problem) -> float | None:
    """The least loss of all plans; None if none fits."""
    options = range(REST, len(problem.host_layers))
    plans = product(options, repeat=len(problem.candidates))
    return min((x for plan in plans if (x := loss(problem, plan)) is not None), default=None)


def tiny_problem(seed: int, most_candidates: int = 4) -> Problem:
    """Few layers, small pages, strides or any layers: every plan can be tried."""
    random = Random(seed)
    machine = random_machine(random)
    layers = random.choice((3, 4, 5, 6))
    count = random.randint(1, most_candidates)
    contexts = [random.randint(1, 90) for _ in range(count)]
    passes = random.choice((1, 4, 8, 9, 40))
    whole = layers * sum(-(-(c + passes - 1) // 4) for c in contexts)
    limits = KvLimits(layers, 4, int(random.uniform(0.2, 1.1) * whole), None, random.random() < 0.2)
    placements = None if random.random() < 0.5 else _placements(random, layers)
    candidates = tuple(
        Candidate(
            index,
            context,
            random.choice((0.03, 0.05, 0.09)),
            random.choice((inf, random.uniform(-0.2, 0.3), random.uniform(0, 3))),
            random.choice((RESIDENT, stride(layers, 0), stride(layers, 1), stride(layers, 2))),
            random.random() < 0.7,
            random.choice((1.0, random.uniform(0.1, 1))),
        )
        for index, context in enumerate(contexts)
    )
    value = random.choice((0.05, 0.3))
    weights = replace(DEFAULT, forgone=value).weights(candidates)
    if placements is None and random.random() < 0.8:
        weights = prices(machine.cost, limits, passes, candidates, value)
    overlap = random.choice((Overlap.RING, Overlap.RING, Overlap.PAPER))
    ring = random.choice((0, 1, 2))
    is_uniform = placements is not None and random.random() < 0.2
    return Problem(
        machine.cost, limits, overlap, ring, passes, candidates, placements, weights, is_uniform
    )


def _placements(random: Random, layers: int) -> tuple[HostLayers, ...]:
    every = paper_options(layers)
    return every if random.random() < 0.7 else (*every, stride(layers, 0))


def random_machine(random: Random) -> Machine:
    """One of the small machines of the property tests."""
    return small_machine(
        random.choice((60, 100, 160, 240)),
        link_bytes_per_s=random.choice((3.1e5, 3.1e6, 3.1e7)),
        link_slowdown=random.choice((0.0, 0.0, 0.13)),
        latency_s=random.choice((0.0, 1.7e-5)),
    )


def real_problem(seed: int, count: int, *, strides: bool, layers: int | None = None) -> Problem:
    """A machine of the size that is served, with memory for 30 to 110 % of everybody's KV."""
    random = Random(seed)
    cost = CostModel.from_profile(resolve_profile(PROFILES[seed % 3]))
    layers = layers or random.choice((cost.layers, cost.layers, 80))
    byte_s = random.uniform(4e9, 60e9)
    scale = byte_s / cost.h2d.bytes_per_s[-1]
    link = tuple(rate * scale for rate in cost.h2d.bytes_per_s)
    cost = CostModel(
        layers,
        cost.page_tokens,
        cost.page_bytes,
        cost.passes,
        type(cost.h2d)(cost.h2d.latency_s, cost.h2d.run_bytes, link),
        cost.d2h,
        random.choice((0.0, 0.0, 0.1)),
    )
    passes = random.choice((4, 8, 16, 32, 64, 128, 256))
    longest = random.choice((2_000, 8_000, 40_000))
    contexts = [random.randint(200, longest) for _ in range(count)]
    whole = sum(layers * -(-(c + passes - 1) // cost.page_tokens) for c in contexts)
    limits = KvLimits(layers, cost.page_tokens, int(random.uniform(0.3, 1.1) * whole))
    shared = random.choice((None, 0.05, 0.1, 0.2))
    absent = random.choice((0.0, 0.2, 0.5))
    placements = paper_options(layers) if strides else None
    candidates = []
    for index, context in enumerate(contexts):
        tbt_limit_s = shared or random.uniform(0.03, 0.4)
        due_s = random.uniform(-20, 300 if random.random() < 0.5 else 40) * tbt_limit_s
        host: HostLayers = RESIDENT
        if random.random() < absent:
            away = random.choice((layers, random.randint(0, layers)))
            host = random.choice(placements) if placements else stride(layers, 0)[:away]
        due_s = inf if random.random() < 0.1 else due_s
        weight = 1.0 if strides else random.uniform(0.1, 1)
        rests = random.random() < 0.95
        candidates.append(Candidate(index, context, tbt_limit_s, due_s, host, rests, weight))
    asked = tuple(candidates)
    weights = prices(cost, limits, passes, asked, 0.2)
    if strides:
        weights = DEFAULT.weights(asked)
    return Problem(cost, limits, Overlap.RING, 2, passes, asked, placements, weights)
