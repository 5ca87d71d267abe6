"""How long turns take and how much is proven of them, by number of requests.

    python benchmarks/turn_speed.py

CPU time of this process, median and 99th percentile, over random questions on three machines (8B
on an A5000 and an H100, 70B on four A6000), 32 or 80 layers, links of 4 to 60 GB/s and memory for
30 to 110 % of everybody's KV; building the terms included.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from reference.turns import real_question

from orbitflow.planner.turn.solver import Solved, solve

PROVEN_GAP = 0.02
COUNTS = ((4, 300), (8, 300), (16, 300), (32, 300), (64, 300))


def main() -> None:
    """Measure and print."""
    table = Table(title="turns: milliseconds of CPU, and gaps as shares of max(J, 1 token)")
    for column in ("requests", "turns", "p50", "p99", "most", "proven", "worst gap"):
        table.add_column(column, justify="right")
    solve(real_question(0, 8))  # warm up
    for requests, count in COUNTS:
        spent, found = measured(requests, count)
        gaps = [solved.gap for solved in found]
        proven = sum(gap <= PROVEN_GAP for gap in gaps) / len(gaps)
        at_99 = sorted(spent)[int(0.99 * (len(spent) - 1))]
        times = (statistics.median(spent), at_99, max(spent))
        row = (*(f"{ms:.1f}" for ms in times), f"{proven:.1%}", f"{max(gaps):.1%}")
        table.add_row(f"{requests}", f"{len(found)}", *row)
    Console(width=100).print(table)


def measured(requests: int, count: int) -> tuple[list[float], list[Solved]]:
    """CPU milliseconds and answers of so many questions that have one."""
    spent, found = [], []
    for seed in range(count):
        question = real_question(seed, requests)
        began = time.process_time()
        solved = solve(question)
        elapsed = (time.process_time() - began) * 1e3
        if solved is not None:
            spent.append(elapsed)
            found.append(solved)
    return spent, found


if __name__ == "__main__":
    main()
