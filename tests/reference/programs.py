"""Small programs with known answers, and what a problem of PuLP 4 looks like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pulp

Model = tuple[pulp.LpProblem, list[pulp.LpVariable]]


def knapsack(sense: int = pulp.LpMaximize) -> Model:
    """Take b and c: 9 and 1 more for nothing, and half an a."""
    problem = pulp.LpProblem("knapsack", sense)
    a = problem.add_variable("a", 0, 1)
    b, c = (problem.add_variable(name, 0, 1, cat=pulp.LpInteger) for name in "bc")
    sign = 1 if sense == pulp.LpMaximize else -1
    problem.setObjective(sign * (3 * a + 5 * b + 4 * c + 1))
    problem += 2 * a + 3 * b + c <= 5, "weight"
    return problem, [c, a, b]


def split(rows: int, size: int, *, exact: bool, seed: int = 0) -> tuple[Model, list[float]]:
    """A market split, notoriously hard, with one of its solutions.

    Sums must be met; unless *exact* they may be missed, at a price.
    """
    random = Random(seed)
    problem = pulp.LpProblem("split", pulp.LpMinimize)
    xs = [problem.add_variable(f"x{i}", 0, 1, cat=pulp.LpInteger) for i in range(size)]
    chosen = [float(random.random() < 0.5) for _ in xs]
    weights = [[random.randint(1, 99) for _ in xs] for _ in range(rows)]
    missed = []
    for i, row in enumerate(weights):
        goal = sum(w * c for w, c in zip(row, chosen, strict=True))
        total = pulp.lpSum(w * x for w, x in zip(row, xs, strict=True))
        if not exact:
            over, under = (problem.add_variable(f"{name}{i}", 0) for name in ("over", "under"))
            missed += [over, under]
            total = total + over - under
        problem += total == goal
    if not exact:
        problem.setObjective(pulp.lpSum(missed))
    return (problem, [*xs, *missed]), [*chosen, *(0.0 for _ in missed)]


def plan(seed: int, requests: int = 4, options: int = 11) -> Model:
    """Like the planner's own: an option for each request, memory, times, late tokens."""
    random = Random(seed)
    problem = pulp.LpProblem("plan", pulp.LpMinimize)
    contexts = [random.randint(2000, 60000) for _ in range(requests)]
    ys = [
        [problem.add_variable(f"y{r}_{o}", 0, 1, cat=pulp.LpInteger) for o in range(options)]
        for r in range(requests)
    ]
    every = [(y, r, o) for r, row in enumerate(ys) for o, y in enumerate(row)]
    pass_ms = problem.add_variable("pass_ms", 0)
    late = [problem.add_variable(f"late{r}", 0) for r in range(requests)]
    problem.setObjective(10 * pulp.lpSum(late) + 0.01 * pass_ms)
    problem += pulp.lpSum(y for y, _, _ in every) >= 1
    pages = pulp.lpSum(contexts[r] * (options - o) / 16 * y for y, r, o in every)
    problem += pages <= 0.4 * sum(contexts) * options / 16
    for piece in range(30):
        share = 1e-4 * (piece + 1) / 40
        time = pulp.lpSum((20 + contexts[r] * (o + piece % 3) * share) * y for y, r, o in every)
        problem += time + 5 <= pass_ms
    for row, behind in zip(ys, late, strict=True):
        problem += pulp.lpSum(row) <= 1
        problem += pass_ms * (8 / 60) - 8 * pulp.lpSum(row) <= behind + random.uniform(0, 4)
    return problem, [*(y for y, _, _ in every), pass_ms, *late]


@dataclass(frozen=True)
class FourVariable:
    """As in PuLP 4: bounds are infinite where there are none, and equal ones are not the same."""

    name: str
    lowBound: float
    upBound: float
    cat: str


@dataclass(frozen=True)
class FourRow:
    """As in PuLP 4: no dictionary, and new variables each time."""

    terms: dict[FourVariable, float]
    limit: float = 0.0
    constant: float = 0.0

    def items(self) -> list[tuple[FourVariable, float]]:
        return [(replace(v), c) for v, c in self.terms.items()]

    def getLb(self) -> None:
        return None

    def getUb(self) -> float:
        return self.limit


@dataclass(frozen=True)
class FourProblem:
    """As in PuLP 4: constraints are a method."""

    objective: FourRow
    rows: list[FourRow]
    sense: int = pulp.LpMaximize

    def constraints(self) -> list[FourRow]:
        return self.rows
