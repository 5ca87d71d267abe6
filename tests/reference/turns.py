"""The turn problem answered by trying every turn, and random questions to try it on.

Slow and obvious: `check` states the definitions one member at a time, and here nothing is added to
them but the loop. What the solver, its bound and the MILP must agree with.
"""

from __future__ import annotations

from itertools import product
from math import inf
from random import Random

from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.cost import CostModel
from strategies import small_machine

from orbitflow.memory import KvLimits
from orbitflow.planner.turn.check import gpu_pages, loss
from orbitflow.planner.turn.question import REST, Member, Question, Turn


def best_loss(question: Question) -> float | None:
    """The least J of all turns; None if none fits."""
    axes = [range(REST if m.may_rest else 0, question.limits.layers + 1) for m in question.members]
    losses = [loss(question, Turn(h)) for h in product(*axes) if _fits(question, Turn(h))]
    return min(losses, default=None)


def _fits(question: Question, turn: Turn) -> bool:
    if turn.host_layers and all(h == REST for h in turn.host_layers):
        return False
    return gpu_pages(question, turn) <= question.limits.gpu_pages


def tiny_question(seed: int, most_members: int = 4) -> Question:
    """Few layers, small pages: every turn can be tried."""
    random = Random(seed)
    machine = small_machine(
        random.choice((60, 100, 160, 240)),
        link_bytes_per_s=random.choice((3.1e5, 3.1e6, 3.1e7)),
        link_slowdown=random.choice((0.0, 0.0, 0.13)),
        latency_s=random.choice((0.0, 1.7e-5)),
    )
    layers = random.choice((3, 4, 5))
    share = random.uniform(0.2, 1.1)
    count = random.randint(1, most_members)
    contexts = [random.randint(1, 90) for _ in range(count)]
    passes = random.choice((1, 4, 8, 9, 40))
    whole = layers * sum(-(-(c + passes - 1) // 4) for c in contexts)
    limits = KvLimits(layers, 4, int(share * whole), None, random.random() < 0.2)
    members = tuple(
        Member(
            index,
            context,
            random.choice((0.03, 0.05, 0.09)),
            random.choice((inf, random.uniform(-0.2, 0.3), random.uniform(0, 3))),
            random.choice((1.0, random.uniform(0.1, 1))),
            random.choice((0, 0, layers, random.randint(0, layers))),
            random.random() < 0.7,
        )
        for index, context in enumerate(contexts)
    )
    ring = random.choice((0, 1, 2))
    return Question(machine.cost, limits, ring, passes, members, random.choice((0.05, 0.3)))


PROFILES = ("a5000-llama3-8b-paper", "h100-roofline", "a6000x4-llama3-70b-paper")


def real_question(seed: int, count: int) -> Question:
    """A machine of the size that is served, with memory for 30 to 110 % of everybody's KV."""
    random = Random(seed)
    cost = CostModel.from_profile(resolve_profile(PROFILES[seed % 3]))
    layers = random.choice((cost.layers, cost.layers, 80))
    byte_s = random.uniform(4e9, 60e9)
    scale = byte_s / cost.h2d.bytes_per_s[-1]
    link = tuple(rate * scale for rate in cost.h2d.bytes_per_s)
    cost = CostModel(
        layers,
        cost.page_tokens,
        cost.page_bytes,
        cost.decode,
        cost.prefill,
        type(cost.h2d)(cost.h2d.latency_s, cost.h2d.run_bytes, link),
        cost.d2h,
        random.choice((0.0, 0.0, 0.1)),
    )
    passes = random.choice((4, 8, 16, 32, 64, 128, 256))
    longest = random.choice((2_000, 8_000, 40_000))
    contexts = [random.randint(200, longest) for _ in range(count)]
    whole = sum(layers * -(-(c + passes - 1) // cost.page_tokens) for c in contexts)
    limits = KvLimits(layers, cost.page_tokens, int(random.uniform(0.3, 1.1) * whole))
    shared_tau = random.choice((None, 0.05, 0.1, 0.2))
    absent = random.choice((0.0, 0.2, 0.5))
    members = []
    for index, context in enumerate(contexts):
        tau = shared_tau or random.uniform(0.03, 0.4)
        due = random.uniform(-20, 300 if random.random() < 0.5 else 40) * tau
        members.append(
            Member(
                index,
                context,
                tau,
                inf if random.random() < 0.1 else due,
                random.uniform(0.1, 1),
                random.choice((layers, random.randint(0, layers)))
                if random.random() < absent
                else 0,
                random.random() < 0.95,
            )
        )
    return Question(cost, limits, 2, passes, tuple(members))
