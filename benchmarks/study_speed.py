"""Wall-clock and CPU seconds of a study, with one worker and with two.

    .venv/bin/python benchmarks/study_speed.py PAPER_TRACE.json [--policy orbitflow] [--cells N]

The bars with two workers on two cores: 200 cells of `dynamic` in at most 60 s, and at least 1.7
times as fast as one worker; 50 cells of `orbitflow`, which plans, in at most 120 s. On a busy
machine wall-clock times say little, so CPU time is printed beside them: what two workers cost
beyond one is start-up, and CPU / wall says how many cores the study was given.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple


class Bar(NamedTuple):
    """How many cells of a policy, and how long they may take with two workers."""

    cells: int
    wall_s: float


BARS = {"dynamic": Bar(200, 60.0), "orbitflow": Bar(50, 120.0)}
BAR_SPEEDUP = 1.7


class Cost(NamedTuple):
    """What one study took."""

    wall_s: float
    cpu_s: float


def run_once(trace: Path, policy: str, cells: int, workers: int) -> Cost:
    """Run a fresh study to its end."""
    rates = ",".join(f"{0.5 + n / cells:.6f}" for n in range(cells))
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "orbitflow", "study", "run", "--trace", str(trace), "--quiet"),
            *("--policy", policy, "--grid", f"rate_scale={rates}", "--workers", str(workers)),
            *("--out", str(Path(folder) / "study")),
        ]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, cpu_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path, help="the paper's 52-request trace, JSON")
    parser.add_argument("--policy", choices=BARS, default="dynamic")
    parser.add_argument("--cells", type=int, help="default: as many as the bar is for")
    parser.add_argument("--workers", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--repeat", type=int, default=1, help="the fastest counts")
    arguments = parser.parse_args()
    policy, bar = arguments.policy, BARS[arguments.policy]
    cells = arguments.cells or bar.cells
    load = os.getloadavg()[0]
    print(f"{cells} cells, {policy}; {os.cpu_count()} CPUs, load before {load:.2f}")
    print(f"{'workers':>7}{'wall s':>9}{'CPU s':>9}{'CPU / wall':>12}{'CPU ms / cell':>15}")
    best: dict[int, Cost] = {}
    for workers in arguments.workers:
        costs = [
            run_once(arguments.trace.resolve(), policy, cells, workers)
            for _ in range(arguments.repeat)
        ]
        best[workers] = cost = min(costs)
        each_ms, ratio = cost.cpu_s / cells * 1e3, cost.cpu_s / cost.wall_s
        print(
            f"{workers:>7}{cost.wall_s:>9.1f}{cost.cpu_s:>9.1f}{ratio:>12.2f}{each_ms:>15.0f}",
            flush=True,
        )
    if 2 in best and cells == bar.cells:
        print(f"two workers: {best[2].wall_s:.1f} s (bar {bar.wall_s:g} s)")
    if {1, 2} <= set(best):
        speedup = best[1].wall_s / best[2].wall_s
        print(f"two workers: {speedup:.2f} x as fast as one (bar {BAR_SPEEDUP:g} x)")


if __name__ == "__main__":
    main()
