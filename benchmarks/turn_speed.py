"""How long turns take and how much is proven of them, by number of requests.

    python benchmarks/turn_speed.py

CPU time of this process, median and 99th percentile, over random questions on three machines (8B
on an A5000 and an H100, 70B on four A6000), 32 or 80 layers, links of 4 to 60 GB/s and memory for
30 to 110 % of everybody's KV; building the terms included. Then what a policy's draft of a turn
takes: terms, solver at the policy's effort, worth of going on as it is, and the check; with how
much more its turns lose than those of a full search, as a share of max(J, 1 token).
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from orbitflow.policy.orbit.rotation import EFFORT
from reference.turns import real_question

from orbitflow.planner.turn.check import faults
from orbitflow.planner.turn.solver import Solved, solve
from orbitflow.planner.turn.worth import worth

PROVEN_GAP = 0.02
COUNTS = ((4, 300), (8, 300), (16, 300), (32, 300), (64, 300))
DRAFTED, DRAFTS = (4, 16, 64), 300


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
        times = (statistics.median(spent), _at_99(spent), max(spent))
        row = (*(f"{ms:.1f}" for ms in times), f"{proven:.1%}", f"{max(gaps):.1%}")
        table.add_row(f"{requests}", f"{len(found)}", *row)
    Console(width=100).print(table)
    Console(width=100).print(drafts())


def drafts() -> Table:
    """What the policy's way of asking takes, and what it costs."""
    table = Table(title="drafts of a turn by the policy: milliseconds of CPU")
    for column in ("requests", "turns", "p50", "p99", "most", "mean loss", "worst loss"):
        table.add_column(column, justify="right")
    for requests in DRAFTED:
        spent, more = [], []
        for seed in range(DRAFTS):
            question = real_question(seed, requests)
            began = time.process_time()
            drafted = solve(question, effort=EFFORT)
            if drafted is None:
                continue
            worth(question, drafted.turn)
            assert not faults(question, drafted.turn, drafted.worth)
            spent.append((time.process_time() - began) * 1e3)
            searched = solve(question)
            assert searched is not None
            lost = drafted.worth.loss - searched.worth.loss
            more.append(lost / max(searched.worth.loss, 1.0))
        times = (statistics.median(spent), _at_99(spent), max(spent))
        row = (*(f"{ms:.1f}" for ms in times), f"{statistics.mean(more):.2%}", f"{max(more):.1%}")
        table.add_row(f"{requests}", f"{len(spent)}", *row)
    return table


def _at_99(spent: list[float]) -> float:
    return sorted(spent)[int(0.99 * (len(spent) - 1))]


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
