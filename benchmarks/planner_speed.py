"""How long plans take, how many are proven, and what is lost against the integer program.

    python benchmarks/planner_speed.py [--quick]

Random problems on three machines (8B on an A5000 and an H100, 70B on four A6000) with 80 layers,
links of 4 to 60 GB/s and memory for 30 to 110 % of everybody's KV, with the options and weights of
`orbitflow` (strides) and of `orbit` (any number of layers). CPU time of this process, median and
99th percentile, the coefficients and the check included. A gap is what a plan loses more than the
integer program's optimum, as a share of max(loss, 1 token).
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from reference.plans import real_problem

from orbitflow.planner.ilp import solve_ilp
from orbitflow.planner.planner import Plan, quick
from orbitflow.planner.solver import Effort

LAYERS = 80
COUNTS = (4, 8, 16, 32, 64)
PROBLEMS, QUICK = 300, 40
COMPARED, MOST_COMPARED = 500, 16  # problems put to the integer program, and their requests
NODES = 5_000  # of its search tree, at most


def main() -> None:
    """Measure and print."""
    is_quick = "--quick" in sys.argv
    count = QUICK if is_quick else PROBLEMS
    for strides in (True, False):
        quick(real_problem(0, 8, strides=strides, layers=LAYERS))  # warm up
    Console(width=100).print(_speed(count))
    Console(width=100).print(_gaps(count if is_quick else COMPARED))


def _speed(count: int) -> Table:
    table = Table(title=f"plans of {LAYERS} layers: milliseconds of CPU")
    for column in ("options", "requests", "plans", "p50", "p99", "most", "proven"):
        table.add_column(column, justify="right")
    for strides in (True, False):
        for requests in COUNTS:
            spent, plans = _measured(requests, count, strides=strides)
            proven = sum(plan.is_proven for plan in plans) / len(plans)
            at_99 = sorted(spent)[int(0.99 * (len(spent) - 1))]
            times = (statistics.median(spent), at_99, max(spent))
            row = (f"{requests}", f"{len(plans)}", *(f"{ms:.2f}" for ms in times), f"{proven:.1%}")
            table.add_row("strides" if strides else "any", *row)
    return table


def _measured(requests: int, count: int, *, strides: bool) -> tuple[list[float], list[Plan]]:
    """CPU milliseconds and plans of so many problems, of those that have one."""
    spent, plans = [], []
    for seed in range(count):
        problem = real_problem(seed, requests, strides=strides, layers=LAYERS)
        began = time.process_time()
        plan = quick(problem)
        elapsed = (time.process_time() - began) * 1e3
        if plan is not None:
            spent.append(elapsed)
            plans.append(plan)
    return spent, plans


def _gaps(count: int) -> Table:
    title = f"against the integer program, 2 to {MOST_COMPARED} requests"
    table = Table(title=title)
    columns = ("options", "problems", "proven optima", "mean gap", "worst gap", "beyond 1 %")
    for column in columns:
        table.add_column(column, justify="right")
    for strides in (True, False):
        gaps, optima = [], 0
        for seed in range(count):
            requests = 2 + seed % (MOST_COMPARED - 1)
            problem = real_problem(seed, requests, strides=strides)
            plan = quick(problem)
            if plan is None:
                continue
            exact = solve_ilp(problem, effort=Effort(1e-4, NODES), start=plan.options)
            if exact.score is None:
                raise AssertionError(f"problem {seed}: {exact.message}")
            optima += exact.is_optimal
            more = plan.score.loss - exact.score.loss
            gaps.append(more / max(1.0, exact.score.loss))
        beyond = sum(gap > 0.01 for gap in gaps)
        row = (f"{len(gaps)}", f"{optima}", f"{statistics.mean(gaps):.3%}", f"{max(gaps):.2%}")
        table.add_row("strides" if strides else "any", *row, f"{beyond}")
    return table


if __name__ == "__main__":
    main()
