"""How long plans take: the fast search and the integer program alone, by number of requests.

    python benchmarks/planner_speed.py

CPU time of this process (CBC's own process left out), median and 99th percentile over random
questions on an A5000 with 32 layers; building the question and the program included.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from random import Random

from orbitflow.planner.solver import Effort
from rich.console import Console
from rich.table import Table

from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvLimits
from orbitflow.planner.ilp import solve_ilp
from orbitflow.planner.problem import Asked, Problem, paper_options
from orbitflow.planner.search import search

COST = CostModel.from_profile(resolve_profile("a5000-llama3-8b-paper"))
OPTIONS = paper_options(32)


def question(draw: Random, requests: int) -> Problem:
    """Memory for 70 to 105 % of what everything resident takes; readers with balances to spend."""
    asked = tuple(
        Asked(i, draw.randint(200, 5000), 0.088, draw.uniform(0, 3), (), True)
        for i in range(requests)
    )
    tokens = sum(a.context_tokens for a in asked) * draw.uniform(0.7, 1.05)
    limits = KvLimits.from_tokens(32, 16, max(16, int(tokens)))
    return Problem(COST, limits, Overlap.RING, 2, 32, asked, OPTIONS)


def timed(solve: Callable[[Problem], object], problems: list[Problem]) -> list[float]:
    """CPU milliseconds of each."""
    spent = []
    for problem in problems:
        began = time.process_time()
        solve(problem)
        spent.append((time.process_time() - began) * 1e3)
    return spent


def main() -> None:
    """Measure and print."""
    effort = Effort(gap=1e-4, nodes=20, seconds=None)
    table = Table(title="milliseconds of CPU per plan")
    for column in ("requests", "plans", "search p50", "search p99", "proven", "ILP p50", "ILP p99"):
        table.add_column(column, justify="right")
    for requests, count in ((4, 200), (8, 60), (12, 30), (64, 60)):
        draw = Random(requests)
        problems = [question(draw, requests) for _ in range(count)]
        fast = timed(search, problems)
        found = [search(p) for p in problems]
        proven = sum(f is not None and f.gap is not None and f.gap <= 0.02 for f in found)
        row = [f"{requests}", f"{count}", *_quantiles(fast), f"{proven / count:.0%}"]
        if requests <= 12:
            fresh = [question(Random(n), requests) for n in range(count)]
            row += _quantiles(timed(lambda p: solve_ilp(p, effort=effort), fresh))
        table.add_row(*row)
    Console(width=100).print(table)


def _quantiles(values: list[float]) -> list[str]:
    ordered = sorted(values)
    return [f"{statistics.median(ordered):.1f}", f"{ordered[int(0.99 * (len(ordered) - 1))]:.1f}"]


if __name__ == "__main__":
    main()
